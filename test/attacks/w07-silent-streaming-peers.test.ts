/** 10,000 silent connections to the streaming port, and an exec that works meanwhile. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { closePod, Node, openPod, type Pod, runIn } from "../support/suites/containers.ts";
import { bare } from "../support/suites/pods.ts";
import { openExec, transports } from "../support/suites/streams.ts";
import { patient } from "../support/patience.ts";
import { SilentPeers } from "./silent-peers.ts";

let node: Node;
let pod: Pod;
let id = "";

before(async () => {
  node = await Node.startWithBusybox();
  pod = await openPod(node.daemon, bare());
  id = await runIn(pod);
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

test("exec works while 10,000 connections without a token are open", {
  timeout: patient(120_000),
}, async () => {
  const streams = { containerId: id, cmd: ["true"], stdout: true };
  const { port } = new URL((await node.daemon.client.runtime.exec(streams)).url);
  await using _ = await SilentPeers.connect({ host: "127.0.0.1", port: Number(port) }, 10_000);
  for (const transport of transports) {
    const client = await openExec(node.daemon, id, ["echo", "through"], { transport });
    client.remote.stdin?.end();
    assert.equal(await client.exitCode(), 0);
    assert.equal(client.stdout, "through\n");
  }
  await node.daemon.waitForLine(
    /more than 1024 connections to the streaming server without a token/,
  );
});
