import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { IncomingMessage } from "node:http";
import { connect, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { checkServerIdentity, connect as connectTls } from "node:tls";
import { openRemoteCommand } from "../client/streaming/index.ts";
import { makeCertificate } from "./certificate.ts";
import { openServer } from "./testing/open-server.ts";
import { maxSessionsOfPod } from "./sessions.ts";
import { maxTokens, tokenLifeMs } from "./tokens.ts";
import { refuseUpgrade } from "./upgrade.ts";

const all = { stdin: true, stdout: true, stderr: true, terminal: false };
const echo = { containerId: "c", sandboxId: "s", command: ["echo", "hi"], terminal: false };

test("StreamingServer returns addresses on loopback with tokens of 128 bits", async () => {
  await using opened = await openServer();
  const url = opened.server.exec(echo, all);
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{22}$/);
  assert.match(
    opened.server.attach({ containerId: "c", sandboxId: "s", terminal: false }, all),
    /\/attach\//,
  );
  assert.match(opened.server.portForward("s", [80]), /\/portforward\//);
});

test("StreamingServer: a token is valid once, for its verb, for one minute", async () => {
  let now = 0;
  const clock = { nowMs: () => now, nowNs: () => 0n };
  await using opened = await openServer({ clock });
  const { server } = opened;
  const used = server.exec(echo, all);
  const command = await openRemoteCommand(used, all);
  command.stdout?.resume();
  command.stderr?.resume();
  await command.end;
  const guessed = server.exec(echo, all).replace(/[^/]+$/, "A".repeat(22));
  const otherVerb = server.exec(echo, all).replace("/exec/", "/attach/");
  const late = server.exec(echo, all);
  now += tokenLifeMs;
  for (const url of [used, guessed, otherVerb, late, `${server.address}/metrics`]) {
    await assert.rejects(openRemoteCommand(url, all), { kind: "not-found" });
  }
});

test("StreamingServer: refuses more than 1000 unused addresses until they expire", async () => {
  let now = 0;
  await using opened = await openServer({ clock: { nowMs: () => now, nowNs: () => 0n } });
  for (let i = 0; i < maxTokens; i++) opened.server.portForward("s", []);
  assert.throws(() => opened.server.exec(echo, all), { kind: "resource-exhausted" });
  now += tokenLifeMs;
  opened.server.exec(echo, all);
});

test("StreamingServer responds to plain HTTP in HTTP", async () => {
  await using opened = await openServer();
  const { server } = opened;
  const known = await fetch(server.exec(echo, all));
  assert.equal(known.status, 400);
  await known.text();
  for (const [path, method] of [
    ["/", "GET"],
    ["/exec/", "GET"],
    ["/exec/../x", "POST"],
    ["/exec/abc", "DELETE"],
  ] as const) {
    const answer = await fetch(`${server.address}${path}`, { method });
    assert.equal(answer.status, 404, path);
    await answer.text();
  }
});

test("StreamingServer limits the headers of a request", async () => {
  await using opened = await openServer();
  const url = opened.server.exec(echo, all);
  const large = await fetch(url, { headers: { "x-large": "x".repeat(16 * 1024) } });
  assert.equal(large.status, 431);
  await large.text();
  const known = await fetch(url, { headers: { "x-large": "x".repeat(8 * 1024) } });
  assert.equal(known.status, 400);
  await known.text();
});

test("StreamingServer refuses a pod with 256 connections, and serves others", async () => {
  await using opened = await openServer();
  const { server } = opened;
  const open = async (sandboxId: string) => {
    const request = { containerId: "c", sandboxId, command: ["sleep"], terminal: false };
    return await openRemoteCommand(server.exec(request, all), all);
  };
  const held = await Promise.all(Array.from({ length: maxSessionsOfPod }, () => open("s")));
  await assert.rejects(open("s"), /there are 256 connections to this pod already/);
  held.push(await open("other"));
  assert.equal(server.sessions.exec, maxSessionsOfPod + 1);
  for (const { end } of held) end.catch(() => undefined);
});

test("StreamingServer rejects unknown protocols, and names those that it has", async () => {
  await using opened = await openServer();
  const ask = async (lines: string[]): Promise<string> => {
    const { pathname, port } = new URL(opened.server.exec(echo, all));
    const socket = connect(Number(port), "127.0.0.1");
    const request = [`POST ${pathname} HTTP/1.1`, "Host: x", "Connection: Upgrade", ...lines];
    socket.write(`${request.join("\r\n")}\r\n\r\n`);
    return await text(socket);
  };
  const none = await ask(["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v9.channel.k8s.io"]);
  assert.match(none, /^HTTP\/1\.1 403 /);
  assert.match(none, /X-Accepted-Stream-Protocol-Versions: v4\.channel\.k8s\.io\r\n/);
  assert.match(await ask(["Upgrade: h2c"]), /^HTTP\/1\.1 400 /);
});

test("StreamingServer serves TLS with a certificate of its own for its address", async () => {
  for (const address of ["127.0.0.1", "::1"]) {
    await using opened = await openServer({ config: { tls: true, address } });
    const url = opened.server.exec(echo, { ...all, stdin: false });
    assert.match(url, /^https:/);
    const command = await openRemoteCommand(url, { ...all, stdin: false });
    command.stderr?.resume();
    assert.equal(await text(command.stdout ?? Readable.from([])), "hi\n");
    assert.deepEqual(await command.end, { exitCode: 0 });
    const { port } = new URL(opened.server.address);
    const socket = connectTls({ host: address, port: Number(port), rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const cert = socket.getPeerCertificate();
    assert.equal(checkServerIdentity(address, cert), undefined);
    assert.equal(checkServerIdentity("localhost", cert), undefined);
    socket.destroy();
  }
});

test("StreamingServer serves TLS with a given certificate, and names a file that it cannot read", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-streaming-"));
  try {
    const given = makeCertificate("10.1.2.3", Date.now());
    const [tlsCertFile, tlsKeyFile] = [join(directory, "cert.pem"), join(directory, "key.pem")];
    const config = { tls: true, tlsCertFile, tlsKeyFile };
    await assert.rejects(
      openServer({ config }),
      /read ".*cert\.pem" for streaming over TLS: ENOENT/,
    );
    writeFileSync(tlsCertFile, given.cert);
    writeFileSync(tlsKeyFile, given.key);
    await using opened = await openServer({ config });
    const { port } = new URL(opened.server.address);
    // With the certificate as its own root, the whole chain and its signature are verified.
    const socket = connectTls({
      host: "127.0.0.1",
      port: Number(port),
      ca: given.cert,
      checkServerIdentity: (_host, cert) => checkServerIdentity("10.1.2.3", cert),
    });
    await once(socket, "secureConnect");
    assert.equal(socket.authorized, true);
    socket.destroy();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("StreamingServer names the address that it cannot listen on", async () => {
  await using first = await openServer();
  const port = Number(new URL(first.server.address).port);
  await assert.rejects(
    openServer({ config: { port } }),
    /listen for streams on "127\.0\.0\.1" port/,
  );
});

test("StreamingServer ends running streams when it is closed", async () => {
  const opened = await openServer();
  const url = opened.server.exec({ ...echo, command: ["sleep"] }, all);
  const command = await openRemoteCommand(url, all);
  const end = assert.rejects(command.end, { kind: "unavailable" });
  assert.deepEqual(opened.server.sessions, { exec: 1, attach: 0, portforward: 0 });
  await opened[Symbol.asyncDispose]();
  await end;
  assert.equal(opened.targets.aborted.length, 1);
  assert.deepEqual(opened.server.sessions, { exec: 0, attach: 0, portforward: 0 });
});

test("StreamingServer closes an idle connection, and aborts what it carried", async () => {
  for (const tls of [false, true]) {
    await using opened = await openServer({ config: { tls, idleTimeoutSeconds: 0.5 } });
    const sleep = { ...echo, command: ["sleep"] };
    const command = await openRemoteCommand(opened.server.exec(sleep, all), all);
    await assert.rejects(command.end, { kind: "unavailable" });
    while (opened.targets.aborted.length === 0) await new Promise((next) => setImmediate(next));
  }
});

/** A silent TCP connection to the server. */
async function connectTo(address: string): Promise<{ socket: Socket; ended: Promise<unknown> }> {
  const { hostname, port } = new URL(address);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  socket.on("error", () => undefined);
  const ended = new Promise((resolve) => {
    socket.once("end", resolve);
    socket.once("close", resolve);
  });
  socket.resume();
  await once(socket, "connect");
  return { socket, ended };
}

test("StreamingServer closes connections that send no token in time, and no others", async () => {
  for (const tls of [false, true]) {
    await using opened = await openServer({ config: { tls }, tokenTimeoutMs: 50 });
    const sleep = opened.server.exec({ ...echo, command: ["sleep"] }, all);
    const command = await openRemoteCommand(sleep, all);
    command.end.catch(() => undefined);
    const silent = await connectTo(opened.server.address);
    const slow = await connectTo(opened.server.address);
    slow.socket.write("POST /exec/x HTTP/1.1\r\nHost: x\r\n");
    const trickle = setInterval(() => slow.socket.write("X-More: 1\r\n"), 5);
    await Promise.all([silent.ended, slow.ended]);
    clearInterval(trickle);
    for (const { socket } of [silent, slow]) socket.destroy();
    assert.deepEqual(opened.targets.aborted, []);
  }
});

test("StreamingServer serves a client with a token while there are too many silent connections", async () => {
  for (const tls of [false, true]) {
    await using opened = await openServer({ config: { tls } });
    const { address } = opened.server;
    const silent: Awaited<ReturnType<typeof connectTo>>[] = [];
    while (silent.length < 1200) silent.push(await connectTo(address));
    const command = await openRemoteCommand(opened.server.exec(echo, all), all);
    command.stderr?.resume();
    assert.equal(await text(command.stdout ?? Readable.from([])), "hi\n");
    await Promise.all(silent.slice(0, 150).map(({ ended }) => ended));
    for (const { socket } of silent) socket.destroy();
  }
});

test("a refused client that does not close its connection is disconnected", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [transport, peer] = duplexPair();
  peer.write("more");
  const request = new IncomingMessage(new Socket());
  refuseUpgrade({ request, transport }, 404, "not found");
  assert.match(await text(peer), /^HTTP\/1\.1 404 .*not found\n$/s);
  assert.equal(transport.destroyed, false);
  t.mock.timers.tick(5_000);
  assert.equal(transport.destroyed, true);
});
