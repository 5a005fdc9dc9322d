import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkedTracestate,
  isSampledByClient,
  isTraceparent,
  remoteParent,
} from "./trace-context.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const spanId = "00f067aa0ba902b7";
const valid = `00-${traceId}-${spanId}-01`;

test("a traceparent has the ids of the client's span and whether it is recorded", () => {
  assert.ok(isTraceparent(valid));
  const { traceId: trace, spanId: span } = remoteParent(valid);
  assert.deepEqual(
    [trace, span].map((id) => Buffer.from(id).toString("hex")),
    [traceId, spanId],
  );
  for (const [flags, sampled] of [
    ["00", false],
    ["01", true],
    ["02", false],
    ["03", true],
    ["ff", true],
  ] as const) {
    const header = `00-${traceId}-${spanId}-${flags}`;
    assert.ok(isTraceparent(header), header);
    assert.equal(isSampledByClient(header), sampled, header);
  }
});

test("a later version may have more fields; version 00 may not", () => {
  assert.ok(isTraceparent(`01-${traceId}-${spanId}-01`));
  assert.ok(isTraceparent(`cc-${traceId}-${spanId}-01-what-comes-later`));
  assert.ok(!isTraceparent(`00-${traceId}-${spanId}-01-more`));
  assert.ok(!isTraceparent(`01-${traceId}-${spanId}-01more`));
});

test("malformed ones are not used", () => {
  for (const header of [
    "",
    "00",
    `ff-${traceId}-${spanId}-01`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}-${spanId}-0x`,
    `00-${traceId}-${spanId}`,
    `00-${traceId.slice(1)}-${spanId}-01`,
    ` ${valid}`,
    `${valid} `,
    `${valid}\n`,
    // Two headers, as node:http2 joins them.
    `${valid}, ${valid}`,
    "x".repeat(16_000),
  ]) {
    assert.ok(!isTraceparent(header), JSON.stringify(header.slice(0, 80)));
  }
});

test("a tracestate is passed on unless it is too long or has control characters", () => {
  assert.equal(
    checkedTracestate("rojo=00f067aa0ba902b7,congo=t61"),
    "rojo=00f067aa0ba902b7,congo=t61",
  );
  for (const header of [undefined, "", "a=b\u0001", "a=\u00e9", "a".repeat(513)]) {
    assert.equal(checkedTracestate(header), "");
  }
});
