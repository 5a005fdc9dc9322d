/** What davit ui does with --write, with a real daemon: shells, stops and removals. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import {
  closePod,
  exited,
  listImages,
  Node,
  openPod,
  type Pod,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { listIds, pod as podConfig, runPod, statusOf, until } from "../support/suites/pods.ts";
import { handshake, Ui } from "../support/suites/ui.ts";

let node: Node;
let pod: Pod;
let main: string;
before(async () => {
  node = await Node.startWithBusybox();
  pod = await openPod(node.daemon, podConfig());
  main = await runIn(pod, script("while :; do sleep 1000; done"));
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

describe("davit ui --write", () => {
  let writing: Ui;
  before(async () => {
    writing = await Ui.start(node.daemon, "--write");
    await writing.login();
  });
  after(() => writing[Symbol.asyncDispose]());

  /** Opens a shell as the page does. */
  function shell(containerId: string): WebSocket {
    const url = `ws://${writing.url.host}/api/shell?container=${containerId}`;
    // An extension of Node.js: browsers set these headers themselves.
    const init = {
      protocols: ["davit-shell", `key.${writing.key}`],
      headers: { cookie: writing.cookie, origin: writing.url.origin },
    };
    const socket = new WebSocket(url, init);
    socket.binaryType = "arraybuffer";
    return socket;
  }

  test("runs a shell with a terminal", async () => {
    const socket = shell(main);
    let output = "";
    let end = "";
    socket.addEventListener("message", ({ data }: { data: unknown }) => {
      if (typeof data === "string") end = data;
      else if (data instanceof ArrayBuffer) output += Buffer.from(data).toString();
    });
    await once(socket, "open");
    socket.send(JSON.stringify({ cols: 91, rows: 33 }));
    await until("the prompt", () => output.includes("# "));
    socket.send(Buffer.from("stty size; exit 7\r"));
    await once(socket, "close");
    assert.match(output, /33 91/);
    assert.equal(end, '{"exitCode":7}');
  });

  test("sends no more output than the page acknowledges", async () => {
    const socket = shell(main);
    let [received, rounds] = [0, 0];
    let end = "";
    socket.addEventListener("message", ({ data }: { data: unknown }) => {
      if (typeof data === "string") end = data;
      else if (data instanceof ArrayBuffer) received += data.byteLength;
    });
    await once(socket, "open");
    await until("the prompt", () => received > 0);
    // The terminal makes three bytes of each "y" and its newline.
    socket.send(Buffer.from("yes | head -c 4000000; exit 5\r"));
    await until("as much as it may send", () => received > 512 * 1024);
    // Another page is served meanwhile, for some rounds.
    await writing.live("pods", () => ++rounds > 2);
    assert.ok(received <= (512 + 64) * 1024, `${received} bytes`);
    let acknowledged = 0;
    await until("the rest", () => {
      if (received > acknowledged) socket.send(JSON.stringify({ ack: received - acknowledged }));
      acknowledged = received;
      return end !== "";
    });
    assert.equal(end, '{"exitCode":5}');
    assert.ok(received >= 6_000_000, `${received} bytes`);
  });

  test("reports why there is no shell", async () => {
    const socket = shell("0123456789");
    const messages: unknown[] = [];
    socket.addEventListener("message", ({ data }: { data: unknown }) => messages.push(data));
    await once(socket, "close");
    assert.match(messages.join(), /"failure":".*there is none with this id/);
  });

  test("ends the shell of a page that is closed, and has eight at most", async () => {
    const sockets = Array.from({ length: 8 }, () => shell(main));
    await Promise.all(sockets.map((socket) => once(socket, "open")));
    const headers = writing.shellHeaders;
    assert.match((await handshake(writing, main, headers)) ?? "", / 503 /);
    for (const socket of sockets) socket.close();
    await until("there is a free one", async () =>
      / 101 /.test((await handshake(writing, main, headers)) ?? ""),
    );
  });

  test("stops and removes", async () => {
    const { daemon } = node;
    const other = await openPod(daemon, podConfig());
    const id = await runIn(other, script("trap 'exit 0' TERM; while :; do sleep 0.1; done"));
    const act = async (action: string, of: string): Promise<number> =>
      (await writing.post("/api/action", { action, id: of })).status;
    assert.equal(await act("stop-container", id), 200);
    await exited(daemon, id);
    assert.equal(await act("stop-pod", other.id), 200);
    assert.equal((await statusOf(daemon, other.id)).state, 1);
    assert.equal(await act("remove-pod", other.id), 200);
    assert.ok(!(await listIds(daemon)).includes(other.id));
    assert.equal(await act("remove-pod", other.id), 404);
    assert.equal(await act("stop-container", "0123"), 404);
    assert.equal(await act("format-disk", "x"), 400);
    const ready = await runPod(daemon, podConfig());
    assert.equal(await act("remove-pod", ready), 200);
    assert.ok(!(await listIds(daemon)).includes(ready));
  });

  test("removes an image", async () => {
    const { daemon, registry } = node;
    const [image] = await listImages(daemon);
    assert.ok(image !== undefined);
    const { imageOf, layerOf } = await import("../support/images.ts");
    await registry.push("e2e/other", imageOf([layerOf([{ path: "a", body: "b" }])]), ["1"]);
    const { imageRef } = await daemon.client.image.pullImage({
      image: { image: "registry.k8s.io/e2e/other:1" },
    });
    const { status } = await writing.post("/api/action", { action: "remove-image", id: imageRef });
    assert.equal(status, 200);
    assert.deepEqual(
      (await listImages(daemon)).map(({ id }) => id),
      [image.id],
    );
  });
});
