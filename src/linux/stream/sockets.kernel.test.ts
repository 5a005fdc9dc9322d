import assert from "node:assert/strict";
import { once } from "node:events";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { spawnChild } from "../process/child.ts";
import { makePrivateBind, unmount } from "../mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../namespace/index.ts";
import { ConsoleSocket, connectLoopback, connectPackets } from "./sockets.ts";
import { openFds, until } from "../testing/leaks.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const never = new AbortController().signal;
const dir = mkdtempSync(join(tmpdir(), "davit-sockets-"));
/** Longer than a unix address. */
const long = join(dir, "x".repeat(120));

before(() => {
  mkdirSync(long);
});
after(() => {
  rmSync(dir, { recursive: true });
});

/** A python program with a listener at `path`, whose script gets each connection as `c`. */
async function peer(path: string, type: string, script: string): Promise<() => Promise<unknown>> {
  const program = [
    "import os, socket, sys, array, pty, termios, fcntl, struct",
    `os.chdir(${JSON.stringify(join(path, ".."))})`,
    `s = socket.socket(socket.AF_UNIX, socket.${type})`,
    `s.bind(${JSON.stringify(path.slice(path.lastIndexOf("/") + 1))}); s.listen(1)`,
    "print('up', flush=True)",
    "c, _ = s.accept()",
    script,
  ].join("\n");
  const child = spawnChild({ file: "python3", args: ["-c", program], env, stdout: "pipe" });
  await once(child.stdout ?? assert.fail(), "data");
  return () => {
    child.stdout?.destroy();
    return child.exited;
  };
}

describe("connectPackets()", () => {
  test("preserves packets, splits writes, half-closes, and ends with the peer", async () => {
    const fds = openFds().size;
    const path = join(long, "attach");
    const ended = await peer(
      path,
      "SOCK_SEQPACKET",
      "c.send(b'\\x02one'); c.send(b'\\x03two')\n" +
        "sizes = []\nwhile True:\n  d = c.recv(65536)\n  if not d: break\n  sizes.append(len(d))\n" +
        "c.send(repr(sizes).encode())",
    );
    const stream = connectPackets(path, 1000);
    stream.end(Buffer.alloc(2500));
    const packets: string[] = [];
    for await (const packet of stream) packets.push(String(packet));
    assert.deepEqual(packets, ["\u0002one", "\u0003two", "[1000, 1000, 500]"]);
    await ended();
    await until("descriptors are closed", () => openFds().size <= fds);
  });

  test("waits for a peer that does not read, and drops writes after its end", async () => {
    const path = join(dir, "slow");
    const ended = await peer(
      path,
      "SOCK_SEQPACKET",
      // It does not read while the write below is made.
      "import time; c.send(b'go'); time.sleep(0.5)\n" +
        "c.settimeout(20)\nn = 0\nwhile n < 4000000: n += len(c.recv(65536))",
    );
    const stream = connectPackets(path, 8192);
    await once(stream, "data");
    stream.resume();
    const taken = stream.write(Buffer.alloc(4_000_000));
    assert.equal(taken, false);
    await once(stream, "drain");
    await once(stream, "end");
    stream.write("nobody reads this");
    stream.end();
    await once(stream, "close");
    await ended();
  });

  test("sends a descriptor with a packet, and stops its peer from sending", async () => {
    const path = join(dir, "descriptors");
    const ended = await peer(
      path,
      "SOCK_SEQPACKET",
      "t, fds, _, _ = socket.recv_fds(c, 100, 4)\n" +
        "os.write(fds[0], t + b' %d' % len(fds)); c.send(b'written')\n" +
        "c.recv(1)\ntry: c.send(b'late')\nexcept BrokenPipeError: os.write(fds[0], b' refused')",
    );
    const stream = connectPackets(path, 8192);
    const file = openSync(join(dir, "sent"), "w+");
    try {
      stream.sendDescriptor(Buffer.from("log"), file);
      const [answer] = (await once(stream, "data")) as [Buffer];
      assert.equal(String(answer), "written");
      stream.refuseInput();
      stream.write("x");
      await once(stream, "end");
      await ended();
      assert.equal(readFileSync(join(dir, "sent"), "utf8"), "log 1 refused");
      assert.throws(
        () => stream.sendDescriptor(Buffer.from("log"), file),
        (error) => errnoCode(error) === "EPIPE",
      );
      stream.destroy();
    } finally {
      closeSync(file);
    }
  });

  test("reports a missing socket, and closes at once when destroyed", async () => {
    const fds = openFds().size;
    assert.throws(
      () => connectPackets(join(dir, "no"), 1),
      (e) => isKind(e, "not-found"),
    );
    assert.throws(
      () => connectPackets(join(dir, "no", "no"), 1),
      (e) => isKind(e, "not-found"),
    );
    const ended = await peer(join(dir, "gone"), "SOCK_SEQPACKET", "c.recv(1)");
    const stream = connectPackets(join(dir, "gone"), 1);
    stream.on("data", () => undefined);
    stream.destroy();
    await ended();
    assert.throws(
      () => connectPackets(join(dir, "gone"), 1),
      (e) => {
        return isKind(e, "failed-precondition") && /connection refused/.test(String(e));
      },
    );
    await until("descriptors are closed", () => openFds().size <= fds);
  });
});

/** Passes a terminal to `path` and runs `script` with its slave as stdin and stdout. */
const giver = (path: string, script: string): string =>
  [
    "import os, socket, array, sys, time, fcntl, termios, struct, signal",
    "m, s = os.openpty()",
    "c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    `c.connect(${JSON.stringify(path)})`,
    "c.sendmsg([b'/dev/ptmx'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [m]))])",
    "os.close(m); c.close(); os.dup2(s, 0); os.dup2(s, 1); os.close(s)",
    script,
  ].join("\n");

describe("ConsoleSocket", () => {
  test("receives a terminal, resizes it, and ends with it; nothing stays in the directory", async () => {
    const fds = openFds().size;
    const console = new ConsoleSocket(long);
    const script =
      "l = sys.stdin.readline()\nw = fcntl.ioctl(0, termios.TIOCGWINSZ, b'\\0' * 8)\n" +
      "print(l.strip(), struct.unpack('HHHH', w)[:2], flush=True)";
    const child = spawnChild({ file: "python3", args: ["-c", giver(console.path, script)], env });
    const terminal = await console.terminal;
    console[Symbol.dispose]();
    console[Symbol.dispose]();
    assert.deepEqual(
      readdirSync(long).filter((name) => name !== "attach"),
      [],
    );
    terminal.resize({ width: 132, height: 43 });
    terminal.write("hello\n");
    let output = "";
    for await (const chunk of terminal) output += String(chunk);
    assert.equal(output, "hello\r\nhello (43, 132)\r\n");
    terminal.destroy();
    assert.equal((await child.exited).code, 0);
    await until("descriptors are closed", () => openFds().size <= fds);
  });

  test("waits when the terminal cannot take more input", async () => {
    using console = new ConsoleSocket(dir);
    const script =
      "import tty; tty.setraw(0); print('raw', flush=True); sys.stdout.flush()\n" +
      "n = 0\nwhile n < 1000000: n += len(os.read(0, 65536))\nprint('all', n, flush=True)";
    const child = spawnChild({ file: "python3", args: ["-c", giver(console.path, script)], env });
    const terminal = await console.terminal;
    await once(terminal, "data");
    let output = "";
    terminal.on("data", (chunk: Buffer) => {
      output += String(chunk);
    });
    assert.equal(terminal.write(Buffer.alloc(1_000_000, "x")), false);
    await once(terminal, "drain");
    await once(terminal, "end");
    terminal.destroy();
    assert.match(output, /all 1000000/);
    await child.exited;
  });

  test("rejects when a connection passes no terminal", async () => {
    using console = new ConsoleSocket(dir);
    const text = "import socket; c = socket.socket(socket.AF_UNIX); ";
    const args = ["-c", `${text}c.connect(${JSON.stringify(console.path)}); c.send(b"x")`];
    const child = spawnChild({ file: "python3", args, env });
    await assert.rejects(console.terminal, /receive a terminal/);
    await child.exited;
  });
});

describe("connectLoopback()", () => {
  const net = join(dir, "ns", "net");
  before(async () => {
    mkdirSync(join(dir, "ns"));
    await makePrivateBind(join(dir, "ns"));
    await pinNamespaces({ net });
  });
  after(async () => {
    await unpinNamespace(net);
    await unmount(join(dir, "ns"));
  });

  const serve = async (host: string): Promise<{ server: Server; port: number }> => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("end", () => socket.end("bye"));
      socket.on("data", (chunk) => socket.write(chunk));
    });
    server.listen(0, host);
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    return { server, port: address.port };
  };
  const talk = async (socket: Socket): Promise<string> => {
    socket.end("hello ");
    let output = "";
    for await (const chunk of socket) output += String(chunk);
    return output;
  };

  for (const host of ["127.0.0.1", "::1"]) {
    test(`reaches ${host} of the host, with half-close`, async () => {
      const { server, port } = await serve(host);
      assert.equal(await talk(await connectLoopback(undefined, port, never)), "hello bye");
      server.close();
      await assert.rejects(connectLoopback(net, port, never), (error) => {
        return isKind(error, "unavailable") && /refused/.test(String(error));
      });
    });
  }

  test("reaches a pod's loopback, and not the host's", async () => {
    const text = [
      "import socket",
      "s = socket.socket(); s.bind(('127.0.0.1', 4000)); s.listen(); print('up', flush=True)",
      "c, _ = s.accept(); c.recv(99); c.sendall(b'in the pod'); c.close()",
    ].join("\n");
    const joinNamespaces = [net];
    const args = ["-c", text];
    const child = spawnChild({ file: "python3", args, env, joinNamespaces, stdout: "pipe" });
    await once(child.stdout ?? assert.fail(), "data");
    assert.equal(await talk(await connectLoopback(net, 4000, never)), "in the pod");
    await child.exited;
    await assert.rejects(connectLoopback(join(dir, "no"), 4000, never), (e) =>
      isKind(e, "not-found"),
    );
  });

  test("leaves the daemon in its own namespace, whatever the result is", async () => {
    const fds = openFds().size;
    const here = readlinkSync("/proc/thread-self/ns/net");
    const file = join(dir, "no-namespace");
    writeFileSync(file, "");
    const connecting = connectLoopback(net, 4002, never);
    assert.equal(readlinkSync("/proc/thread-self/ns/net"), here);
    await assert.rejects(connecting, (e) => isKind(e, "unavailable"));
    await assert.rejects(connectLoopback(file, 4002, never), /setns.*no-namespace/);
    await assert.rejects(connectLoopback(join(dir, "no"), 4002, never), /no such file/i);
    assert.equal(readlinkSync("/proc/thread-self/ns/net"), here);
    await until("descriptors are closed", () => openFds().size <= fds);
  });

  test("rejects when it is aborted, and leaves no descriptor", async () => {
    const fds = openFds().size;
    // A listener whose queue is full: another connection waits.
    const text = [
      "import socket, sys",
      "s = socket.socket(); s.bind(('127.0.0.1', 4001)); s.listen(0)",
      "a = socket.create_connection(('127.0.0.1', 4001)); b = socket.socket(); b.setblocking(False)",
      "b.connect_ex(('127.0.0.1', 4001)); print('up', flush=True); sys.stdin.read()",
    ].join("\n");
    const child = spawnChild({
      ...{ file: "python3", args: ["-c", text], env, joinNamespaces: [net] },
      ...{ stdin: "pipe", stdout: "pipe" },
    });
    await once(child.stdout ?? assert.fail(), "data");
    await delay(50);
    await assert.rejects(connectLoopback(net, 4001, AbortSignal.timeout(300)), /timeout|refused/i);
    child.stdin?.end();
    await child.exited;
    child.stdout?.destroy();
    await until("descriptors are closed", () => openFds().size <= fds);
  });
});
