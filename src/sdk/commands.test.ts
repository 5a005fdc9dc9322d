import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RuntimeError } from "../base/errors.ts";
import { Davit, ExecError } from "./index.ts";
import { failure } from "./testing/failure.ts";
import { startFake } from "./testing/fake-server.ts";

test("exec() returns outputs, throws an ExecError for another code, and takes values as arguments", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const text = "a b; $HOME 'q'";
  assert.equal((await pod.exec`echo -n ${text}`).stdout, text);
  const script = "cat; echo problem >&2; exit 3";
  const error = await failure(pod.exec(["sh", "-c", script], { input: "in" }));
  assert.ok(error instanceof ExecError);
  assert.deepEqual(
    [error.kind, error.exitCode, error.stdout, error.stderr],
    ["exit-code", 3, "in", "problem\n"],
  );
  assert.match(
    error.message,
    /^run "sh" in container "default\/test-[^"]*": exit code 3: problem$/,
  );
  const result = await pod.exec(["sh", "-c", script], { check: false });
  assert.deepEqual(result, { exitCode: 3, stdout: "", stderr: "problem\n" });
  const env = await pod.exec(["sh", "-c", "echo $A; pwd"], { env: { A: "1" }, workdir: "/tmp" });
  assert.equal(env.stdout, "1\n/tmp\n");
  const missing = await failure(pod.exec(["no-such-program"]));
  assert.equal(missing.kind, "not-found");
});

test("exec() ends the command at its limits", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const late = await failure(pod.exec(["sleep", "60"], { timeoutMs: 50 }));
  assert.equal(late.kind, "deadline");
  const large = await failure(pod.exec(["yes"], { maxOutputBytes: 10_000 }));
  assert.equal(large.kind, "no-space");
  const stop = new AbortController();
  const running = failure(pod.exec(["sleep", "60"], { signal: stop.signal }));
  stop.abort(new Error("enough"));
  const error = await running;
  assert.deepEqual([error.kind, (error.cause as Error).message], ["aborted", "enough"]);
});

test("a large stdin is sent in messages that the server takes", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const input = Buffer.alloc(20_000_000, "x");
  assert.equal((await pod.exec(["wc", "-c"], { input })).stdout.trim(), "20000000");
  const error = await failure(pod.exec(["true"], { timeoutMs: 2 ** 31 }));
  assert.equal(error.kind, "invalid");
});

test("spawn() has separate streams and signals, and await using kills it", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const cat = await pod.spawn(["sh", "-c", "cat; echo e >&2"]);
  cat.stdin.end("hello");
  const read = async (stream: AsyncIterable<unknown>): Promise<string> => {
    let all = "";
    for await (const chunk of stream) all += String(chunk);
    return all;
  };
  assert.deepEqual(await Promise.all([read(cat.stdout), read(cat.stderr)]), ["hello", "e\n"]);
  assert.deepEqual(await cat.exit, { exitCode: 0 });
  const sleeping = await pod.spawn(["sleep", "60"]);
  sleeping.kill();
  assert.deepEqual(await sleeping.exit, { exitCode: 143 });
  assert.throws(() => sleeping.kill("TERM"), { kind: "invalid" });
  let exit: Promise<unknown>;
  {
    await using endless = await pod.spawn(["yes"]);
    exit = endless.exit;
  }
  await assert.rejects(exit, { kind: "aborted" });
});

test("a reader that leaves the output of a command does not stop it", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const command = await pod.spawn(["sh", "-c", "head -c 5000000 /dev/zero; exit 4"]);
  for await (const _ of command.stdout) break;
  assert.deepEqual(await command.exit, { exitCode: 4 });
});

test("write(), read(), copyIn() and copyOut() move files", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-files-"));
  try {
    await using server = await startFake();
    await using davit = await Davit.connect({ endpoint: server.endpoint });
    await using pod = await davit.run("test:1");
    // The fake container has the files of this machine.
    const inside = join(directory, "inside");
    await pod.write(`${inside}/deep/text`, "a'b\n", { mode: 0o755 });
    assert.equal(await pod.readText(`${inside}/deep/text`), "a'b\n");
    const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => at % 251);
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    }
    await pod.write(`${inside}/stream`, pieces());
    assert.deepEqual(new Uint8Array(await pod.read(`${inside}/stream`)), bytes);
    writeFileSync(join(directory, "local"), "local");
    await pod.copyIn(join(directory, "local"), `${inside}/deep`);
    assert.equal(readFileSync(`${inside}/deep/local`, "utf8"), "local");
    await pod.copyOut(`${inside}/deep`, join(directory, "out"));
    assert.deepEqual(readdirSync(join(directory, "out")).toSorted(), ["local", "text"]);
    assert.equal((await failure(pod.read(`${inside}/none`))).kind, "not-found");
    assert.equal((await failure(pod.read("relative"))).kind, "invalid");
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes;
      throw new Error("source is broken");
    }
    const failed = await failure(pod.write(`${inside}/x`, broken()));
    assert.equal(failed.message.split(" in container ").length, 2, failed.message);
    assert.match(failed.message, /source is broken$/);
    const target = join(directory, "none");
    assert.equal((await failure(pod.copyOut(`${inside}/none`, target))).kind, "not-found");
    assert.equal((await failure(pod.copyIn(target, "/tmp"))).kind, "not-found");
    // A container that is gone is not an image without programs.
    for (const call of ["exec", "write", "read"]) {
      server.failNext(
        "Exec",
        new RuntimeError("not-found", 'exec "1": there is none with this id'),
      );
      const gone = await failure(
        call === "exec"
          ? pod.exec(["true"])
          : call === "write"
            ? pod.write("/x", "")
            : pod.read("/x"),
      );
      assert.equal(gone.kind, "not-found", `${call}: ${gone.message}`);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
