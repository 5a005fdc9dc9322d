import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import {
  decodeStatusMessage,
  encodeStatusMessage,
  formatTimeout,
  frame,
  MessageReader,
  parseTimeout,
} from "./codec.ts";
import { grpcCodeOfKind, kindOfGrpcCode } from "./status.ts";

/** A small random generator with a seed, so that a failing run can be repeated. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
}

describe("MessageReader", () => {
  test("push() gives the same messages for every split of the bytes", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = randomFrom(seed);
      const messages = Array.from({ length: 1 + random(6) }, () =>
        Buffer.alloc(random(4) === 0 ? 0 : random(400), random(256)),
      );
      const wire = Buffer.concat(messages.map(frame));
      const reader = new MessageReader(1000);
      const got: Buffer[] = [];
      for (let at = 0; at < wire.length; ) {
        const size = random(3) === 0 ? random(4) : 1 + random(300);
        got.push(...reader.push(wire.subarray(at, at + size)));
        at += size;
      }
      reader.end();
      assert.deepEqual(got, messages, `seed ${seed}`);
      assert.equal(reader.heldBytes, 0);
    }
  });

  test("push() handles arbitrary bytes: messages or a RuntimeError, and a bounded buffer", () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = randomFrom(seed);
      const reader = new MessageReader(64);
      let sent = 0;
      try {
        for (let i = 0; i < 20; i++) {
          const chunk = Buffer.from(Array.from({ length: random(12) }, () => random(3)));
          sent += chunk.length;
          reader.push(chunk);
          assert.ok(reader.heldBytes <= sent);
        }
      } catch (error) {
        assert.ok(
          isKind(error, "internal") ||
            isKind(error, "unimplemented") ||
            isKind(error, "resource-exhausted"),
          String(error),
        );
      }
    }
  });

  test("push() rejects a message by its prefix alone", () => {
    const reader = new MessageReader(10);
    assert.throws(() => reader.push(Buffer.from([0, 0, 0, 0, 11])), {
      kind: "resource-exhausted",
      message: "read message: 11 bytes are more than the limit of 10",
    });
    assert.equal(new MessageReader(10).push(frame(Buffer.alloc(10))).length, 1);
  });

  test("push() rejects compressed messages and unknown flags", () => {
    const compressed = Buffer.from([1, 0, 0, 0, 0]);
    assert.throws(() => new MessageReader(10).push(compressed), { kind: "unimplemented" });
    const flagged = Buffer.from([7, 0, 0, 0, 0]);
    assert.throws(() => new MessageReader(10).push(flagged), { kind: "internal" });
  });

  test("end() rejects an incomplete message", () => {
    const reader = new MessageReader(10);
    reader.push(frame(Buffer.alloc(3)).subarray(0, 7));
    assert.throws(() => reader.end(), { kind: "internal" });
  });
});

test("parseTimeout() reads every unit and rejects other text", () => {
  const wanted = { "1H": 3_600_000, "2M": 120_000, "3S": 3000, "4m": 4, "5u": 0.005, "0n": 0 };
  for (const [header, ms] of Object.entries(wanted)) assert.equal(parseTimeout(header), ms);
  assert.equal(parseTimeout("99999999H"), 99_999_999 * 3_600_000);
  for (const header of ["", "5", "S", "123456789S", "-1S", "1.5S", "1s", " 1S", "1S ", "1Sm"]) {
    assert.throws(() => parseTimeout(header), { kind: "invalid-argument" }, header);
  }
});

test("formatTimeout() gives a header that parses to at least the time", () => {
  for (const ms of [0, 0.2, 1, 99_999_999, 1e8, 1e10, 1e12]) {
    const header = formatTimeout(ms);
    assert.match(header, /^\d{1,8}[HSm]$/);
    assert.ok(parseTimeout(header) >= ms, header);
  }
  assert.equal(formatTimeout(-3), "0m");
  assert.equal(formatTimeout(Number.MAX_VALUE), "99999999H");
});

test("encodeStatusMessage() and decodeStatusMessage() carry any text", () => {
  assert.equal(encodeStatusMessage('no container "a b"'), 'no container "a b"');
  assert.equal(encodeStatusMessage("50% \u00e4\n"), "50%25%20%C3%A4%0A");
  for (const text of ["", " ", " a ", "a\r\nb: c", "\u{1f6a2} \u0000 %41 %", "100%"]) {
    const encoded = encodeStatusMessage(text);
    assert.match(encoded, /^[!-~ ]*$/);
    assert.equal(encoded.trim(), encoded);
    assert.equal(decodeStatusMessage(encoded), text);
  }
  assert.equal(decodeStatusMessage("half %4 and %zz"), "half %4 and %zz");
});

test("encodeStatusMessage() truncates a message that is too long for clients, between characters", () => {
  const encoded = encodeStatusMessage("\u00e4".repeat(100_000));
  assert.ok(encoded.length <= 8 * 1024 + 3);
  assert.match(encoded, /^(%C3%A4)+\.\.\.$/);
  assert.equal(encodeStatusMessage("x".repeat(9000)), `${"x".repeat(8192)}...`);
});

test("grpcCodeOfKind and kindOfGrpcCode() are inverse", () => {
  const codes = Object.entries(grpcCodeOfKind);
  assert.deepEqual(
    codes.map(([, code]) => code),
    Array.from({ length: 16 }, (_, i) => i + 1),
  );
  for (const [kind, code] of codes) assert.equal(kindOfGrpcCode(code), kind);
  assert.equal(kindOfGrpcCode(99), "unknown");
});
