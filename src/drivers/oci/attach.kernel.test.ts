/** Clients that attach to containers. */
// variants: conmon
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setImmediate as delay } from "node:timers/promises";

import { isKind } from "../../base/errors.ts";
import { testOperation } from "../../core/operation/testing/operation.ts";
import { until } from "../../linux/testing/leaks.ts";
import type { OciRuntime } from "./index.ts";
import { TestClient } from "../../core/streaming/testing/test-client.ts";
import { type ContainerOptions, holdings, TestHost, testedMonitor } from "./testing/sandbox.ts";

let host: TestHost;
let runtime: OciRuntime;

before(async () => {
  host = await TestHost.open();
  runtime = await host.runtime();
});
after(() => host[Symbol.asyncDispose]());

/** A client that is attached. */
class Attached {
  readonly client = new TestClient();
  readonly end: Promise<void>;
  /** Resolves when it gets all output from then on, or is not attached at all. */
  readonly attached: Promise<unknown>;
  readonly #gone = new AbortController();

  constructor(
    id: string,
    options: Pick<ContainerOptions, "terminal" | "stdin" | "stdinOnce">,
    ...names: readonly ("stdin" | "stdout" | "stderr")[]
  ) {
    const open = options.stdinOnce === true ? "once" : "open";
    const stdin = options.stdin === true ? open : "none";
    const { terminal = false } = options;
    const streams = this.client.streams(...names);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const operation = testOperation(this.#gone.signal, (stage) => {
      if (stage === "wait-for-end") resolve(undefined);
    });
    this.end = runtime.attach(id, { streams, terminal, stdin }, operation);
    this.attached = Promise.race([promise, this.end.catch(() => undefined)]);
  }

  async leave(): Promise<void> {
    this.#gone.abort(new Error("the client left"));
    await assert.rejects(this.end, /the client left/);
  }
}

async function withContainer(
  options: ContainerOptions,
  use: (id: string, monitor: number) => Promise<void>,
): Promise<void> {
  const { id, monitor } = await host.start(runtime, options);
  try {
    await use(id, monitor?.pid ?? 0);
  } finally {
    await runtime.remove(id);
    host.assertGone(id);
  }
}
const sh = (script: string): readonly string[] => ["sh", "-c", script];
/** Repeats each line on both streams, and reports the end. */
const parrot = sh("echo first; while read line; do echo $line; echo e$line >&2; done; echo over");
const ended = async (id: string): Promise<number> =>
  (await runtime.wait(id, AbortSignal.timeout(10_000))).exitCode;

describe("OciRuntime.attach()", () => {
  test("attaches several clients, which leave without ending anything", async () => {
    const options = { args: parrot, stdin: true };
    await withContainer(options, async (id) => {
      await until("it has written", () => host.log(id).length === 1);
      const holding = holdings();
      const [one, two] = [new Attached(id, options), new Attached(id, options, "stdout")];
      await Promise.all([one.attached, two.attached]);
      one.client.stdin.write("a\n");
      await Promise.all([one.client.stdout.has("a\n"), two.client.stdout.has("a\n")]);
      await one.client.stderr.has("ea\n");
      assert.equal(one.client.stdout.text, "a\n", "nothing from before is repeated");
      assert.equal(two.client.stderr.text, "");
      await one.leave();
      const three = new Attached(id, options, "stdin");
      three.client.stdin.end("b\n");
      await two.client.stdout.has("b\n");
      await Promise.all([two.leave(), three.leave()]);
      await until("no descriptor is left", () => holdings().fds <= holding.fds);
      const four = new Attached(id, options);
      four.client.stdin.write("c\n");
      await four.client.stdout.has("c\n");
      const logged = (): readonly string[] =>
        host.log(id).flatMap(([stream, , text]) => (stream === "stdout" ? [text] : []));
      // Clients get their output before the log.
      await until("the log has the last line", () => logged().includes("c"));
      assert.deepEqual(logged(), ["first", "a", "b", "c"]);
      await runtime.kill(id, 9);
      await four.end;
      assert.ok(four.client.stdout.writableFinished);
    });
  });

  test("ends stdin with the first client's input if it is to be used once", async () => {
    const options = { args: parrot, stdin: true, stdinOnce: true };
    await withContainer(options, async (id) => {
      const listener = new Attached(id, options, "stdout");
      await listener.attached;
      const writer = new Attached(id, options);
      writer.client.stdin.end("x\n".repeat(20_000));
      await Promise.all([writer.end, listener.end]);
      assert.equal(await ended(id), 0);
      for (const { stdout } of [writer.client, listener.client]) {
        assert.match(stdout.text, /x\nover\n$/);
        assert.equal(stdout.text.split("x\n").length, 20_001);
      }
    });
  });

  test("does not end stdin when a client leaves that only reads", async () => {
    const options = { args: parrot, stdin: true, stdinOnce: true };
    await withContainer(options, async (id) => {
      const holding = holdings();
      const warnings: string[] = [];
      const onWarning = ({ message }: Error): unknown => warnings.push(message);
      process.on("warning", onWarning);
      // Node.js warns when an event has eleven listeners.
      for (let round = 0; round < 15; round++) {
        await until("it has written", () => host.log(id).length >= 1);
        await new Attached(id, options, "stdout", "stderr").leave();
      }
      await delay();
      process.off("warning", onWarning);
      assert.deepEqual(warnings, []);
      assert.ok(holdings().fds <= holding.fds + 1, "they share one connection");
      const writer = new Attached(id, options);
      const listener = new Attached(id, options, "stdout");
      await Promise.all([writer.attached, listener.attached]);
      writer.client.stdin.write("still there\n");
      for (const { client } of [writer, listener]) await client.stdout.has("still there");
      writer.client.stdin.end();
      await Promise.all([writer.end, listener.end]);
      assert.equal(await ended(id), 0);
      await until("no descriptor is left", () => holdings().fds <= holding.fds);
    });
  });

  test("drops what is typed for a process that has no stdin", async () => {
    const script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; echo done";
    await withContainer({ args: sh(script) }, async (id) => {
      const client = new Attached(id, { stdin: false });
      client.client.stdin.end(Buffer.alloc(1_000_000));
      await client.attached;
      writeFileSync(join(host.rootfs, "tmp/go"), "");
      await client.end;
      assert.equal(client.client.stdout.text, "done\n");
    });
  });

  test("resizes the process's terminal", async () => {
    const script =
      'echo up; while :; do s=$(stty size); [ "$s" = "$o" ] || echo $s; o=$s; sleep 0.02; done';
    const options = { args: sh(script), terminal: true, stdin: true };
    await withContainer(options, async (id) => {
      await until("it is up", () => host.log(id).length >= 1);
      const attached = new Attached(id, options, "stdin", "stdout");
      const { client } = attached;
      client.resize({ width: 101, height: 31 });
      await client.stdout.has("31 101\r\n");
      for (let width = 10; width < 60; width++) client.resize({ width, height: 5000 });
      // conmon refuses a height of more than 1000.
      await client.stdout.has(testedMonitor === "davit" ? "5000 59\r\n" : "1000 59\r\n");
      await attached.leave();
    });
  });

  test("disconnects a client that lags behind, and neither the log nor other clients suffer", async () => {
    const script = "read go; dd if=/dev/zero bs=1000 count=20000 2>/dev/null; echo; echo done";
    const options = { args: sh(script), stdin: true };
    await withContainer(options, async (id) => {
      const slow = new Attached(id, options, "stdout");
      slow.client.stdout.paceMs = 1000;
      const quick = new Attached(id, options);
      quick.client.stdout.keeps = false;
      await slow.attached;
      quick.client.stdin.write("go\n");
      await assert.rejects(slow.end, (error) => isKind(error, "resource-exhausted"));
      slow.client.stdout.destroy();
      await quick.end;
      assert.equal(quick.client.stdout.bytes, 20_000_006);
    });
  });

  test("tells a client that the monitor has no room for it, or has ended", {
    skip: testedMonitor !== "davit" && "conmon has room for all",
  }, async () => {
    await withContainer({ args: ["sleep", "100"] }, async (id, monitor) => {
      const clients = Array.from({ length: 28 }, () => new Attached(id, {}, "stdout"));
      await Promise.all(clients.map(({ attached }) => attached));
      const cutOff = (error: unknown): boolean =>
        isKind(error, "unavailable") && /runs on; it serves 28 clients/.test(String(error));
      await assert.rejects(new Attached(id, {}, "stdout").end, cutOff);
      process.kill(monitor, 9);
      for (const { end } of clients) await assert.rejects(end, cutOff);
    });
  });

  test("refuses a container that has ended", async () => {
    await withContainer({ args: ["true"] }, async (id) => {
      await ended(id);
      const client = new Attached(id, {});
      await assert.rejects(
        client.end,
        (e) => isKind(e, "not-found") || isKind(e, "failed-precondition"),
      );
    });
    await assert.rejects(new Attached("0".repeat(64), {}).end, (e) => isKind(e, "not-found"));
  });
});
