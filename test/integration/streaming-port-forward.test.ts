/** Port-forward: into a pod's network and the host's, many connections, half-close, resets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { inPod, Node, runIn, script, sh } from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";
import { podConfig } from "../support/pod.ts";
import { openForward, transports } from "../support/suites/streams.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await inPod(daemon, podConfig(), () => Promise.resolve());
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

/** Answers what it was sent, and the end, when its client has no more: one connection after the other. */
const server = (port: number): string =>
  `while :; do nc -l -p ${port} -e /bin/sh -c 'cat; echo end'; done`;

async function said(data: Duplex, words: string): Promise<string> {
  data.end(words);
  return text(data);
}

for (const transport of transports) {
  describe(`PortForward over ${transport}`, () => {
    test(
      "reaches a pod's loopback with half-close, one connection after the other",
      leakless(served, () =>
        inPod(daemon, podConfig(), async (pod) => {
          const id = await runIn(pod, script(server(8080)));
          await until("it listens", async () =>
            (await sh(daemon, id, "netstat -ltn || true")).includes(":8080"),
          );
          const forward = await openForward(daemon, pod.id, transport);
          for (let n = 0; n < 3; n++) {
            await until("it answers", async () => {
              const { data, failure } = await forward.connect(8080);
              if ((await said(data, `hello ${n} `).catch(() => "")) === `hello ${n} end\n`)
                return true;
              await failure;
              return false;
            });
          }
          // A port without a server gets an error and affects nothing else.
          const refused = await forward.connect(8081);
          refused.data.resume();
          assert.match((await refused.failure) ?? "", /refused/);
          forward.close();
        }),
      ),
    );

    test(
      "reaches the host's loopback from a pod on the host's network, fifty times at once",
      leakless(served, async () => {
        const echo = createServer({ allowHalfOpen: true }, (socket) => {
          socket.on("error", () => undefined);
          socket.pipe(socket);
        });
        echo.listen(0, "::1");
        await once(echo, "listening");
        const address = echo.address();
        assert.ok(typeof address === "object" && address !== null);
        await inPod(daemon, bare(), async (pod) => {
          const forward = await openForward(daemon, pod.id, transport);
          const reset = await forward.connect(address.port);
          reset.data.write("x");
          await once(reset.data, "data");
          reset.data.destroy();
          const many = Array.from({ length: 50 }, async (_, n) => {
            const { data } = await forward.connect(address.port);
            const words = `${n} `.repeat(20_000);
            assert.equal(await said(data, words), words);
          });
          await Promise.all(many);
          forward.close();
        });
        echo.close();
        await once(echo, "close");
      }),
    );
  });
}

test(
  "PortForward requires a ready sandbox, and valid ports",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const ask = (podSandboxId: string, port: readonly number[] = []): Promise<unknown> =>
        daemon.client.runtime.portForward({ podSandboxId, port: [...port] });
      await assert.rejects(ask("2".repeat(64)), failsWith(code.notFound));
      await assert.rejects(ask(pod.id, [80, 70_000]), failsWith(code.invalidArgument, /70000/));
      await daemon.client.runtime.stopPodSandbox({ podSandboxId: pod.id });
      await assert.rejects(ask(pod.id), failsWith(code.failedPrecondition, /not ready/));
    }),
  ),
);
