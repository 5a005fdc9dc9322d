import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import type { Logger } from "../../base/logger.ts";
import { SystemError } from "../../base/system-error.ts";
import { ServiceManager } from "./service-manager.ts";

const sent: string[] = [];
const warnings: string[] = [];
let failure: string | undefined;

const log = {
  warn: (message: string) => {
    warnings.push(message);
  },
} as unknown as Logger;

beforeEach(() => {
  sent.length = 0;
  warnings.length = 0;
  failure = undefined;
});

function manager(env: Record<string, string | undefined>): ServiceManager {
  const send = (socket: string, text: string): void => {
    if (failure !== undefined) throw new SystemError("sendto", failure);
    sent.push(`${socket} ${text}`);
  };
  return new ServiceManager({ env, pid: 7, send, log });
}

describe("ServiceManager", () => {
  test("sends nothing without a service manager", () => {
    using service = manager({ WATCHDOG_USEC: "2000" });
    service.ready("x");
    assert.deepEqual(sent, []);
  });

  test("reports its states, and removes its variables from the environment", () => {
    const env = { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "1", WATCHDOG_PID: "7", PATH: "/bin" };
    using service = manager(env);
    service.starting("a");
    service.ready("b");
    service.stopping();
    assert.deepEqual(sent, [
      "/n STATUS=a",
      "/n READY=1\nSTATUS=b",
      "/n STOPPING=1\nSTATUS=stopping; pods keep running",
    ]);
    assert.deepEqual(env, { PATH: "/bin" });
  });

  test("reports a reload with the time of CLOCK_MONOTONIC, as systemd expects it", () => {
    using service = manager({ NOTIFY_SOCKET: "/n" });
    const before = process.hrtime.bigint() / 1000n;
    service.reloading();
    const us = /^\/n RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=/.exec(sent[0] ?? "")?.[1];
    assert.ok(BigInt(us ?? 0) >= before);
  });

  test("sends WATCHDOG=1 at half of the interval, unless that is for another process", (t) => {
    t.mock.timers.enable({ apis: ["setInterval"] });
    const env = { NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "10000000" };
    const service = manager({ ...env, WATCHDOG_PID: "7" });
    using _other = manager({ ...env, WATCHDOG_PID: "8" });
    t.mock.timers.tick(4999);
    assert.deepEqual(sent, []);
    t.mock.timers.tick(5001);
    assert.deepEqual(sent, ["/n WATCHDOG=1", "/n WATCHDOG=1"]);
    service[Symbol.dispose]();
    t.mock.timers.tick(10_000);
    assert.equal(sent.length, 2);
  });

  test("retries a full queue, and logs once that the manager is gone", () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    using service = manager({ NOTIFY_SOCKET: "/n" });
    failure = "EAGAIN";
    service.ready("a");
    mock.timers.tick(500);
    failure = undefined;
    mock.timers.tick(500);
    assert.deepEqual(sent, ["/n READY=1\nSTATUS=a"]);
    assert.deepEqual(warnings, []);
    failure = "ECONNREFUSED";
    service.ready("b");
    service.stopping();
    assert.equal(warnings.length, 1);
    mock.timers.reset();
  });
});
