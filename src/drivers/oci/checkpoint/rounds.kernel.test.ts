// Each of these is captured and restored ten times, and has its state each time.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { after, describe, test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { isKind, messageOf } from "../../../base/errors.ts";
import type { CaptureRequest, ContainerBundle } from "../../../core/container/index.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { patient } from "../../../../test/support/patience.ts";
import { captureRequest, restoring, withoutCriu, withoutSockets } from "../testing/criu.ts";
import { sharedPod } from "../testing/shared-pod.ts";
import { TestHost } from "../testing/sandbox.ts";

const host = await TestHost.open();
const runtime = await host.runtime();
const rounds = 10;

after(async () => {
  await host[Symbol.asyncDispose]();
});

const numbers = (id: string): readonly number[] => host.log(id).map(([, , text]) => Number(text));

/** The times of captures and restores in milliseconds. */
class Times {
  readonly #ms = { capture: [] as number[], restore: [] as number[] };

  async take<T>(what: "capture" | "restore", work: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const result = await work();
    this.#ms[what].push(performance.now() - began);
    return result;
  }

  show(context: TestContext): void {
    for (const [what, times] of Object.entries(this.#ms)) {
      const sorted = times.toSorted((a, b) => a - b).map((ms) => Math.round(ms));
      const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
      context.diagnostic(
        `${what}: median ${median} ms, ${sorted[0] ?? 0} to ${sorted.at(-1) ?? 0}`,
      );
    }
  }
}

/** Captures containers that are paused, ends them, and starts those of `next` from what was captured. */
async function move(
  times: Times,
  ids: readonly string[],
  next: (at: number) => ContainerBundle,
  options: Partial<Pick<CaptureRequest, "closeTcp">> = {},
): Promise<readonly string[]> {
  const soon = AbortSignal.timeout(patient(20_000));
  for (const id of ids) await runtime.freezer.pause(id, soon);
  const requests: CaptureRequest[] = [];
  for (const id of ids) {
    const request = captureRequest(host.directory, options);
    await times.take("capture", () => runtime.captures.capture(id, request, testOperation()));
    requests.push(request);
  }
  for (const id of ids) await end(id);
  const restored: string[] = [];
  for (const [at, request] of requests.entries()) {
    const bundle = restoring(next(at), request);
    await times.take("restore", () => runtime.start(bundle, testOperation()));
    restored.push(bundle.id);
  }
  return restored;
}

async function end(id: string): Promise<void> {
  await runtime.killAll(id);
  await host.end(runtime, id);
}

for (const runtimePath of ["crun", "runc"]) {
  describe(`ten captures and restores with ${runtimePath}`, { skip: withoutCriu }, () => {
    test("a process that counts", async (context) => {
      const args = ["sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"];
      const times = new Times();
      let { id } = await host.start(runtime, { args, runtimePath });
      for (let round = 0; round < rounds; round++) {
        await until("it counts", () => host.log(id).length > 2);
        const before = id;
        const log = numbers(before);
        [id = ""] = await move(times, [id], () => host.bundle({ args, runtimePath }));
        await until("it counts on", () => host.log(id).length > 0);
        // Its log ends where it was paused, a few lines after it was read.
        const last = numbers(before).at(-1) ?? log.at(-1) ?? 0;
        assert.equal(numbers(id)[0], last + 1);
      }
      times.show(context);
      await end(id);
    });

    test("a web server with an idle client", { skip: withoutSockets }, async (context) => {
      const port = runtimePath === "crun" ? 8081 : 8082;
      const args = ["/bin/busybox", "httpd", "-f", "-p", `127.0.0.1:${port}`, "-h", "/bin"];
      const times = new Times();
      let { id } = await host.start(runtime, { args, runtimePath });
      for (let round = 0; round < rounds; round++) {
        using client = await connected(port);
        await assertServes(port);
        if (round === 0) {
          const request = captureRequest(host.directory);
          await assert.rejects(
            runtime.captures.capture(id, request, testOperation()),
            (error) =>
              isKind(error, "failed-precondition") && /TCP connection/.test(messageOf(error)),
          );
          await assertServes(port);
        }
        [id = ""] = await move(times, [id], () => host.bundle({ args, runtimePath }), {
          closeTcp: true,
        });
        assert.ok(client.socket.destroyed || client.socket.readable);
        await assertServes(port);
      }
      times.show(context);
      await end(id);
    });

    test("two containers of a pod with a message queue and shared memory", async (context) => {
      const writer =
        '$| = 1; $m = shmget(7, 64, 01600) // die; $q = msgget(8, 01600) // die; $n = 0; while (1) { $n++; shmwrite($m, pack("N", $n), 0, 4) or die; msgsnd($q, pack("l! N", 1, $n), 04000); print "$n\\n"; select(undef, undef, undef, 0.05); }';
      const reader =
        '$| = 1; do { select(undef, undef, undef, 0.05); $m = shmget(7, 64, 0600) } until defined $m; $q = msgget(8, 0600) // die; $last = 0; while (1) { msgrcv($q, $r, 64, 0, 0) or die; $n = unpack("x[l!] N", $r); shmread($m, $s, 0, 4) or die; die if $n != $last + 1 || unpack("N", $s) < $n; $last = $n; print "$n\\n"; }';
      const times = new Times();
      const options = (script: string) => ({
        args: ["/usr/bin/perl", "-e", script],
        runtimePath,
      });
      let pod = await sharedPod();
      let ids: readonly string[] = [];
      for (const script of [writer, reader]) {
        const bundle = pod.bundle(host.bundle(options(script)));
        await runtime.start(bundle, testOperation());
        ids = [...ids, bundle.id];
      }
      for (let round = 0; round < rounds; round++) {
        await until("both continue", () => ids.every((id) => host.log(id).length > 2));
        const before = ids.map((id) => numbers(id).at(-1) ?? 0);
        const old = pod;
        pod = await sharedPod();
        ids = await move(times, ids, () => pod.bundle(host.bundle(options("0"))));
        await old[Symbol.asyncDispose]();
        await until("both continue", () => ids.every((id) => host.log(id).length > 2));
        for (const [at, id] of ids.entries()) {
          assert.ok(
            (numbers(id)[0] ?? 0) > (before[at] ?? 0),
            `container ${at} started from scratch`,
          );
        }
      }
      times.show(context);
      for (const id of ids) await end(id);
      await pod[Symbol.asyncDispose]();
    });
  });
}

async function connected(port: number): Promise<Disposable & { readonly socket: Socket }> {
  let socket = connect(port, "127.0.0.1");
  for (let tries = 0; ; tries++) {
    try {
      await once(socket, "connect");
      break;
    } catch (error) {
      if (tries > 200) throw error;
      await delay(10);
      socket = connect(port, "127.0.0.1");
    }
  }
  socket.on("error", () => undefined);
  return {
    socket,
    [Symbol.dispose]: () => {
      socket.destroy();
    },
  };
}

async function assertServes(port: number): Promise<void> {
  using client = await connected(port);
  client.socket.write("GET /no-such-file HTTP/1.0\r\n\r\n");
  const [answer] = (await once(client.socket, "data")) as [Buffer];
  assert.match(answer.toString("latin1"), /404/);
}
