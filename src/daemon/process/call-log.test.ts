import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogFields, type Logger, silentLogger } from "../../base/logger.ts";
import type { Call } from "../../wire/grpc/call.ts";
import { CallLog } from "./call-log.ts";

const lines: (readonly [string, string, LogFields | undefined])[] = [];
const keep =
  (level: string) =>
  (message: string, fields?: LogFields): void =>
    void lines.push([level, message, fields]);
const log: Logger = {
  ...silentLogger,
  debug: keep("debug"),
  info: keep("info"),
  warn: keep("warn"),
};

let made = 0;
const call = (method: string): Call => ({
  method: `/runtime.v1.RuntimeService/${method}`,
  id: ++made,
  signal: new AbortController().signal,
  startedAt: 0,
  sendHeaders: () => undefined,
  metadata: () => undefined,
});
const end = (code = 0, message = ""): Parameters<CallLog["ended"]>[1] => ({
  ...{ code, message, requestBytes: 0, responseBytes: 0, durationMs: 12.34 },
});

test("CallLog says of a call what was noted, also where it failed", () => {
  const calls = new CallLog(log);
  const [one, other, polled, probe] = [
    "RunPodSandbox",
    "StopContainer",
    "ListContainers",
    "ExecSync",
  ].map(call);
  assert.ok(one && other && polled && probe);
  calls.note(one, { pod: "ns/a" });
  calls.note(other, { pod: "ns/b" });
  calls.note(one, { sandbox: "id" });
  calls.ended(other, end(5, "no such thing"));
  calls.ended(one, end());
  calls.ended(polled, end());
  calls.ended(probe, end());
  const facts = { code: 0, ms: 12.3 };
  assert.deepEqual(lines, [
    ["warn", "StopContainer failed: no such thing", { pod: "ns/b", call: 2, code: 5, ms: 12.3 }],
    ["info", "RunPodSandbox", { pod: "ns/a", sandbox: "id", call: 1, ...facts }],
    ["debug", "ListContainers", { call: 3, ...facts }],
    ["debug", "ExecSync", { call: 4, ...facts }],
  ]);
});

test("CallLog names the process that called, and logs what changed nothing at debug level", () => {
  lines.length = 0;
  const calls = new CallLog(log);
  const peer = { pid: 7, uid: 0, name: "crictl" };
  const stop = call("StopPodSandbox");
  const again = call("StopPodSandbox");
  calls.ended({ ...stop, peer }, end());
  calls.note(again, { already: "stopped" });
  calls.ended(again, end());
  assert.deepEqual(
    lines.map(([level, , fields]) => [level, fields?.["peer"], fields?.["peerPid"]]),
    [
      ["info", "crictl", 7],
      ["debug", undefined, undefined],
    ],
  );
});

test("CallLog reports a stream of events as a failure only if its client was too slow", () => {
  lines.length = 0;
  const calls = new CallLog(log);
  const ends: readonly (readonly [number, string])[] = [
    [1, "the caller canceled it"],
    [14, "davit is shutting down"],
    [8, "the client does not keep up"],
  ];
  for (const [code, message] of ends) calls.ended(call("GetContainerEvents"), end(code, message));
  assert.deepEqual(
    lines.map(([level, message]) => [level, message]),
    [
      ["info", "GetContainerEvents"],
      ["info", "GetContainerEvents"],
      ["warn", "GetContainerEvents failed: the client does not keep up"],
    ],
  );
});

test("CallLog reports the end of a lease as one, with the lease", () => {
  lines.length = 0;
  const calls = new CallLog(log);
  const hold = { ...call("Hold"), method: "/davit.v1.Leases/Hold" };
  calls.note(hold, { lease: "a1" });
  calls.ended(hold, end(1, "the caller canceled it"));
  assert.deepEqual(
    lines.map(([level, message, fields]) => [level, message, fields?.["lease"]]),
    [["info", "Hold", "a1"]],
  );
});

test("CallLog reports a command whose client left as no failure, in contrast to an Exec of the CRI", () => {
  lines.length = 0;
  const calls = new CallLog(log);
  const own = { ...call(""), method: "/davit.v1.Containers/Exec" };
  calls.ended(own, end(1, "the caller canceled it"));
  calls.ended(own, end(3, "there is no signal"));
  calls.ended(call("Exec"), end(1, "the caller canceled it"));
  assert.deepEqual(
    lines.map(([level, message]) => [level, message]),
    [
      ["info", "Exec"],
      ["warn", "Exec failed: there is no signal"],
      ["warn", "Exec failed: the caller canceled it"],
    ],
  );
});

test("CallLog logs the status of an object that does not exist at debug level", () => {
  lines.length = 0;
  const calls = new CallLog(log);
  const [notFound, internal] = [5, 13];
  for (const method of ["ContainerStatus", "PodSandboxStatus", "ExecSync", "Status"]) {
    calls.ended(call(method), end(notFound, "there is none"));
  }
  calls.ended(call("ContainerStatus"), end(internal, "broken"));
  assert.deepEqual(
    lines.map(([level, message]) => [level, message]),
    [
      ["debug", "ContainerStatus failed: there is none"],
      ["debug", "PodSandboxStatus failed: there is none"],
      ["warn", "ExecSync failed: there is none"],
      ["warn", "Status failed: there is none"],
      ["warn", "ContainerStatus failed: broken"],
    ],
  );
});
