import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test, type TestContext } from "node:test";
import { SeccompListener } from "./listener.ts";

// Filters of real containers are in test/integration/seccomp-notifier.test.ts.

test("SeccompListener refuses a message without a descriptor, and takes the place of an earlier one", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-seccomp-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "seccomp.sock");
  for (const text of ["{}", ""]) {
    const refused = Promise.withResolvers<unknown>();
    using _listener = new SeccompListener(path, {
      onFilter: () => refused.reject(new Error("it was taken")),
      onError: (error) => refused.resolve(error),
    });
    const socket = connect(path).on("error", () => undefined);
    socket.end(text);
    assert.match(String(await refused.promise), /receive a seccomp filter/);
    socket.destroy();
  }
});

/** Connects when it reads a line, and sends a state of some bytes with a descriptor, in one call as an OCI runtime does. */
const sender = `
import array, socket, sys
path, size = sys.argv[1], int(sys.argv[2])
sys.stdin.readline()
s = socket.socket(socket.AF_UNIX)
s.connect(path)
state = '{"metadata":"' + "\\u00e4" * (size // 2) + '"}\\n'
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))
data = state.encode()
sent = s.sendmsg([data], [rights])
assert sent == len(data), sent
sys.stdin.readline()
`;

/** A listener, and the process that sends to it. */
function sent(t: TestContext, size: number) {
  const directory = mkdtempSync(join(tmpdir(), "davit-seccomp-"));
  const path = join(directory, "seccomp.sock");
  const filter = Promise.withResolvers<string>();
  const failed = Promise.withResolvers<unknown>();
  const errors: unknown[] = [];
  const listener = new SeccompListener(path, {
    onFilter: (fd, text) => {
      closeSync(fd);
      filter.resolve(text);
    },
    onError: (error) => {
      errors.push(error);
      failed.resolve(error);
    },
  });
  const program = spawn("python3", ["-c", sender, path, String(size)], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  t.after(async () => {
    listener[Symbol.dispose]();
    program.kill("SIGKILL");
    await once(program, "close");
    rmSync(directory, { recursive: true });
  });
  const send = (): boolean => program.stdin.write("\n");
  return { filter: filter.promise, failed: failed.promise, errors, send };
}

test("SeccompListener takes a state that comes in pieces, while the runtime keeps its socket open", async (t) => {
  const size = 3_000_001;
  const { filter, send } = sent(t, size);
  send();
  const { metadata } = JSON.parse(await filter) as { readonly metadata: string };
  assert.equal(metadata, "ä".repeat((size - 1) / 2));
});

test("SeccompListener refuses a state that is too large", async (t) => {
  const { failed, send } = sent(t, 5 * 1024 * 1024);
  send();
  assert.match(String(await failed), /receive a seccomp filter: its state has more than 4194304/);
});

test("SeccompListener says once that it is out of descriptors, and accepts when it has some", async (t) => {
  const { filter, failed, errors, send } = sent(t, 100);
  const limit = (soft: string): void => {
    execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${soft}:`]);
  };
  const before = /^Max open files +(\w+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  limit("200");
  const spare: number[] = [];
  try {
    // Until none is left: others of this process are closed by the event loop.
    for (let known = -1; known < spare.length; ) {
      known = spare.length;
      await new Promise(setImmediate);
      assert.throws(() => {
        for (;;) spare.push(openSync("/dev/null", "r"));
      }, /EMFILE/);
    }
    send();
    assert.match(String(await failed), /accept connection.*EMFILE/);
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    assert.equal(errors.length, 1);
  } finally {
    for (const fd of spare) closeSync(fd);
    limit(before ?? "1024");
  }
  assert.match(await filter, /metadata/);
});
