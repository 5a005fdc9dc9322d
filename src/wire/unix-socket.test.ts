import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, readdir, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { scratchDirectory } from "./grpc/testing/serving.ts";
import { checkSocketPath, connectError, listenUnix } from "./unix-socket.ts";

/** Leaves a stale socket file, like a killed process. */
async function leaveStaleSocket(path: string): Promise<void> {
  const program = `require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
  const child = spawn(process.execPath, ["-e", program, path]);
  await once(child, "exit");
  assert.ok((await lstat(path)).isSocket());
}

async function canConnect(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test("listenUnix() makes the directory and the socket with its mode, and close() removes the socket", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "run", "s.sock");
  const listener = await listenUnix(createServer(), path, { mode: 0o660 });
  assert.equal((await lstat(path)).mode & 0o777, 0o660);
  assert.equal((await lstat(join(directory.path, "run"))).mode & 0o777, 0o750);
  assert.deepEqual(await readdir(join(directory.path, "run")), ["s.sock"]);
  assert.ok(await canConnect(path));
  await listener.close();
  assert.deepEqual(await readdir(join(directory.path, "run")), []);
});

test("listenUnix() replaces a stale socket", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  await leaveStaleSocket(path);
  const listener = await listenUnix(createServer(), path, { mode: 0o600 });
  assert.ok(await canConnect(path));
  await listener.close();
});

test("listenUnix() refuses a path that another process serves, and does not change it", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  const first = await listenUnix(createServer(), path, { mode: 0o660 });
  const second = createServer();
  await assert.rejects(listenUnix(second, path, { mode: 0o660 }), {
    kind: "failed-precondition",
    message: `listen on "${path}": another process serves this socket: stop it or choose another path`,
  });
  assert.equal(second.listening, false);
  assert.deepEqual(await readdir(directory.path), ["s.sock"]);
  assert.ok(await canConnect(path));
  await first.close();
});

test("listenUnix() refuses a path that is not a socket, and does not change it", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "file");
  await writeFile(path, "precious");
  await assert.rejects(listenUnix(createServer(), path, { mode: 0o660 }), {
    kind: "failed-precondition",
    message: /not a socket/,
  });
  assert.ok((await lstat(path)).isFile());
});

test("close() of listenUnix() does not remove the socket of another process", async () => {
  await using directory = await scratchDirectory();
  const path = join(directory.path, "s.sock");
  const first = await listenUnix(createServer(), path, { mode: 0o660 });
  await rm(path);
  const second = await listenUnix(createServer(), path, { mode: 0o660 });
  await first.close();
  assert.ok(await canConnect(path));
  await second.close();
});

test("checkSocketPath() accepts 107 bytes and refuses more", () => {
  checkSocketPath(`/${"x".repeat(106)}`);
  assert.throws(() => checkSocketPath(`/${"x".repeat(107)}`), {
    kind: "invalid-argument",
    message: /at most 107 bytes, this one needs 108/,
  });
});

test("connectError() names the socket and says what to do", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
  const error = connectError("/run/x.sock", refused);
  assert.equal(error.kind, "unavailable");
  assert.match(error.message, /^connect to "\/run\/x.sock": no process serves .* start it/);
  const denied = Object.assign(new Error("connect EACCES"), { code: "EACCES" });
  assert.equal(connectError("/run/x.sock", denied).kind, "permission-denied");
});

test("listenUnix() gives the socket, and the directories that it makes, to a group", async () => {
  await using directory = await scratchDirectory();
  // Root may give files to any group, other users only to one of their own groups.
  const own = process.getgid?.() ?? 0;
  const gid = process.getuid?.() === 0 ? 4242 : own;
  const [outer, inner] = [join(directory.path, "a"), join(directory.path, "a", "b")];
  const path = join(inner, "s.sock");
  const listener = await listenUnix(createServer(), path, { mode: 0o660, gid });
  for (const made of [outer, inner, path]) assert.equal((await lstat(made)).gid, gid, made);
  assert.equal((await lstat(path)).mode & 0o777, 0o660);
  assert.equal((await lstat(directory.path)).gid, own);
  await listener.close();
});
