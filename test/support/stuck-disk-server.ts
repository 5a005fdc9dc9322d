/**
 * Serves a FUSE file system that answers everything but the lookup of one name: a disk that hangs.
 *
 *   node stuck-disk-server.ts DIRECTORY
 *
 * A process that looks up `hang` in it waits in the kernel. Once the request has been read here, not even SIGKILL
 * ends the wait (request_wait_answer, fs/fuse/dev.c). When this process ends, the kernel aborts the connection
 * and all waiting processes continue: a test that is killed leaves no process stuck.
 */
import { spawnSync } from "node:child_process";
import { openSync, readSync, writeSync } from "node:fs";

// include/uapi/linux/fuse.h
const opcodes = { lookup: 1, forget: 2, getattr: 3, init: 26, interrupt: 36, batchForget: 42 };
const ENOENT = 2;
const ENOSYS = 38;
const [directory = ""] = process.argv.slice(2);

const device = openSync("/dev/fuse", "r+");
const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
// -i: without the helper of that type, which may not be installed.
const mounted = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "stuck-disk", directory], {
  stdio: ["ignore", "ignore", "inherit", device],
});
if (mounted.status !== 0) process.exit(1);

const request = Buffer.alloc(1 << 20);
for (;;) {
  try {
    answer(request.subarray(0, readSync(device, request)));
  } catch (error) {
    // ENODEV: unmounted. ENOENT, EINTR: a request that was taken back.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "EINTR") process.exit(code === "ENODEV" ? 0 : 1);
  }
}

function answer(message: Buffer): void {
  const opcode = message.readUInt32LE(4);
  const unique = message.readBigUInt64LE(8);
  const body = message.subarray(40);
  switch (opcode) {
    case opcodes.init:
      reply(unique, 0, initAnswer());
      process.stdout.write("ready\n");
      return;
    case opcodes.getattr:
      reply(unique, 0, rootAttributes());
      return;
    case opcodes.lookup: {
      const name = body.subarray(0, body.indexOf(0)).toString();
      if (name === "hang") process.stdout.write("hanging\n");
      else reply(unique, ENOENT);
      return;
    }
    case opcodes.forget:
    case opcodes.batchForget:
    case opcodes.interrupt:
      return;
    default:
      reply(unique, ENOSYS);
  }
}

/** struct fuse_out_header, and what follows it. */
function reply(unique: bigint, errno: number, body: Buffer = Buffer.alloc(0)): void {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeInt32LE(-errno, 4);
  header.writeBigUInt64LE(unique, 8);
  writeSync(device, Buffer.concat([header, body]));
}

/** struct fuse_init_out of protocol 7.31: no flags. */
function initAnswer(): Buffer {
  const body = Buffer.alloc(64);
  body.writeUInt32LE(7, 0);
  body.writeUInt32LE(31, 4);
  body.writeUInt32LE(4096, 8);
  body.writeUInt32LE(4096, 20);
  return body;
}

/** struct fuse_attr_out: a directory that everybody may enter. */
function rootAttributes(): Buffer {
  const body = Buffer.alloc(104);
  body.writeBigUInt64LE(1n, 16);
  body.writeUInt32LE(0o40755, 76);
  body.writeUInt32LE(2, 80);
  body.writeUInt32LE(4096, 96);
  return body;
}
