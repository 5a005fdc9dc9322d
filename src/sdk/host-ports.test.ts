import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { Davit } from "./index.ts";
import { failure } from "./testing/failure.ts";
import { startFake } from "./testing/fake-server.ts";

const hint = "use another port of the host, or stop the pod or process that uses it";

test("run() refuses a port of the host that a process listens on, and names it", async () => {
  await using server = await startFake({ address: "127.0.0.1" });
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const ports = [{ container: 80, host: port }];
  const error = await failure(davit.run("test:1", { ports }));
  assert.deepEqual([error.kind, error.hint], ["failed", hint]);
  assert.match(
    error.message,
    new RegExp(`^run "test:1": host port ${port}/tcp is in use by process ${process.pid} \\(`),
  );
  assert.ok(!server.calls.includes("RunPodSandbox"), "nothing was made");
  const udp = await davit.run("test:1", { ports: [{ ...ports[0], protocol: "UDP" } as never] });
  assert.equal(server.pods.length, 1, "UDP is another port");
  await udp.remove();
  listener.close();
  await once(listener, "close");
  await davit.run("test:1", { ports });
  assert.equal(server.pods.length, 1);
});

test("run() and apply() refuse ports of other pods, and of each other", async () => {
  await using server = await startFake({ address: "127.0.0.1" });
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  // A port that no process of this machine has: the fake server publishes none.
  const ports = [{ container: 80, host: 65_123 }];
  await davit.run("test:1", { name: "first", ports });
  const error = await failure(davit.run("test:1", { name: "second", ports }));
  assert.equal(error.kind, "failed");
  assert.match(
    error.message,
    /host port 65123\/tcp is in use by pod "default\/first"; use another/,
  );
  const pod = (name: string) => ({
    ...{ apiVersion: "v1", kind: "Pod", metadata: { name } },
    spec: {
      containers: [
        { name: "c", image: "test:1", ports: [{ containerPort: 80, hostPort: 65_124 }] },
      ],
    },
  });
  const both = await failure(davit.apply([pod("a"), pod("b")]));
  assert.match(both.message, /host port 65124\/tcp is also requested by pod "default\/a"/);
  assert.equal(server.pods.length, 1);
  assert.equal((await davit.apply([pod("a")])).length, 1);
});
