import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Attachment } from "../../core/network/index.ts";
import type { Sandbox, SandboxState } from "../../core/sandbox/index.ts";
import { RunPodSandboxRequestSchema } from "../../gen/runtime/v1/api_pb.ts";
import { damage } from "./testing/damage.ts";
import { Records } from "./index.ts";
import {
  bareSandbox,
  fullAttachment,
  fullContainer,
  fullImage,
  fullSandbox,
  MemoryLogger,
  sampleDigest,
  temporaryDirectory,
  until,
} from "./testing/sample.ts";

const writer = join(import.meta.dirname, "testing/writer.ts");

/** Everything but the time that is needed to open records again is thrown away between the two. */
async function afterRestart<T>(path: string, use: (records: Records) => T): Promise<T> {
  await using records = Records.open(path, { logger: silentLogger });
  return use(records);
}

describe("Records", () => {
  test("keep every field of a sandbox", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "root/davit.db");
    const states: readonly SandboxState[] = [
      { name: "creating" },
      { name: "ready" },
      { name: "dead", reason: "its holder is gone", atNs: 1_764_000_000_123_456_789n },
      { name: "stopped", atNs: 9_007_199_254_740_993n },
    ];
    const sandboxes: Sandbox[] = [
      ...states.map((state) => ({ ...fullSandbox(state.name), state })),
      { ...fullSandbox("no-owned"), cgroup: { parent: "/p", ownedFrom: undefined } },
      bareSandbox("bare"),
    ];
    {
      await using records = Records.open(path, { logger: silentLogger });
      for (const sandbox of sandboxes) records.sandboxes.put(sandbox);
    }
    const loaded = await afterRestart(path, (records) => records.sandboxes.load());
    assert.deepEqual(loaded.map(plain), sandboxes.map(plain));
  });

  test("keep every field of an attachment", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const attachments: Attachment[] = [
      fullAttachment("a"),
      { ...fullAttachment("b"), result: undefined, removal: undefined },
    ];
    {
      await using records = Records.open(path, { logger: silentLogger });
      for (const attachment of attachments) records.attachments.put(attachment);
    }
    const loaded = await afterRestart(path, (records) => records.attachments.load());
    assert.deepEqual(loaded, attachments);
  });

  test("give request bytes back as they came, with fields that this version does not know", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const sandbox = fullSandbox("a");
    // Field 9999, length-delimited, after the known ones; and the runtime handler a second time.
    const unknown = [0xfa, 0xf0, 0x04, 0x03, 1, 2, 3, 0x12, 0x04, 0x6f, 0x76, 0x65, 0x72];
    const requestBytes = Uint8Array.from([...sandbox.requestBytes, ...unknown]);
    // A view into a larger buffer, like the message of a gRPC frame.
    const frame = Uint8Array.from([9, 9, 9, 9, 9, ...requestBytes, 9, 9]);
    {
      await using records = Records.open(path, { logger: silentLogger });
      records.sandboxes.put({
        ...sandbox,
        requestBytes: frame.subarray(5, 5 + requestBytes.length),
      });
    }
    const [loaded] = await afterRestart(path, (records) => records.sandboxes.load());
    assert.ok(loaded);
    assert.deepEqual([...loaded.requestBytes], [...requestBytes]);
    assert.equal(
      fromBinary(RunPodSandboxRequestSchema, loaded.requestBytes).runtimeHandler,
      "over",
    );
    assert.deepEqual(loaded.config.metadata?.name, "pod-a");
  });

  test("load in the order of the first writes, independent of updates and the clock", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    let now = 5_000;
    const clock = { nowMs: () => now, nowNs: () => BigInt(now) * 1_000_000n };
    {
      await using records = Records.open(path, { logger: silentLogger, clock });
      for (const id of ["z", "m", "a", "k"]) {
        records.sandboxes.put(bareSandbox(id));
        now -= 1_000;
      }
      records.sandboxes.put(fullSandbox("z"));
      records.sandboxes.delete("m");
      records.sandboxes.put(bareSandbox("m"));
    }
    const loaded = await afterRestart(path, (records) => records.sandboxes.load());
    assert.deepEqual(
      loaded.map(({ id }) => id),
      ["z", "a", "k", "m"],
    );
  });

  test("delete what is there and what is not, and count rows", async () => {
    using directory = temporaryDirectory();
    await using records = Records.open(join(directory.path, "davit.db"), { logger: silentLogger });
    records.sandboxes.put(fullSandbox("a"));
    records.sandboxes.put(fullSandbox("b"));
    records.attachments.put(fullAttachment("a"));
    for (const id of ["a", "b", "c"]) records.containers.put(fullContainer(id));
    for (const digit of ["1", "2", "3", "4"]) records.images.put(fullImage(digit));
    assert.deepEqual(records.counts(), {
      sandboxes: 2,
      attachments: 1,
      containers: 3,
      images: 4,
      setAside: 0,
    });
    for (let twice = 0; twice < 2; twice++) {
      records.sandboxes.delete("a");
      records.attachments.delete("a");
      records.containers.delete("a");
      records.images.delete(sampleDigest("1"));
      assert.deepEqual(records.counts(), {
        sandboxes: 1,
        attachments: 0,
        containers: 2,
        images: 3,
        setAside: 0,
      });
    }
  });

  test("load two sandboxes of one name: who is right is not theirs to say", async () => {
    using directory = temporaryDirectory();
    await using records = Records.open(join(directory.path, "davit.db"), { logger: silentLogger });
    records.sandboxes.put({ ...fullSandbox("a"), name: "same" });
    records.sandboxes.put({ ...fullSandbox("b"), name: "same" });
    assert.equal(records.sandboxes.load().length, 2);
  });

  test("an unreadable record is set aside with its reason and all bytes", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const logger = new MemoryLogger();
    const sandbox = fullSandbox("a");
    {
      await using records = Records.open(path, { logger });
      records.sandboxes.put(sandbox);
      records.sandboxes.put(fullSandbox("b"));
    }
    damage(path, { kind: "sandbox", key: "id" }, "a", { column: "version", to: 99 });
    let reason: unknown;
    {
      await using records = Records.open(path, { logger });
      assert.equal(records.sandboxes.load().length, 1);
      reason = records.setAside()[0]?.reason;
      assert.match(String(reason), /version/);
      const { sandboxes, setAside } = records.counts();
      assert.deepEqual({ sandboxes, setAside }, { sandboxes: 1, setAside: 1 });
    }
    assert.deepEqual(
      logger.of("error").map((line) => line.fields),
      [{ kind: "sandbox", id: "a", reason }],
    );
    const aside = await afterRestart(path, (records) => records.setAside());
    assert.deepEqual(aside, [{ kind: "sandbox", id: "a", reason }]);
    using raw = new DatabaseSync(path);
    const body = raw.prepare("SELECT body FROM set_aside").get()?.["body"];
    assert.ok(body instanceof Uint8Array);
    const row = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
    const { base64 } = row["request"] as { base64: string };
    assert.deepEqual(Buffer.from(base64, "base64"), Buffer.from(sandbox.requestBytes));
    assert.equal(row["name"], sandbox.name);
  });

  test("are not readable by other users", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "root/davit.db");
    await using records = Records.open(path, { logger: silentLogger });
    records.sandboxes.put(fullSandbox("a"));
    assert.equal(statSync(join(directory.path, "root")).mode & 0o777, 0o700);
    for (const suffix of ["", "-wal", "-shm"]) {
      assert.equal(statSync(path + suffix).mode & 0o777, 0o600, suffix);
    }
  });

  test("refuse to be used after they were closed, and leave one file", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const records = Records.open(path, { logger: silentLogger });
    records.sandboxes.put(fullSandbox("a"));
    await records[Symbol.asyncDispose]();
    await records[Symbol.asyncDispose]();
    assert.throws(
      () => records.sandboxes.put(fullSandbox("b")),
      (error) => isKind(error, "failed-precondition") && String(error).includes(path),
    );
    assert.throws(() => records.counts(), /they are closed/);
    assert.ok(existsSync(path));
    assert.ok(!existsSync(`${path}-wal`));
    assert.ok(!existsSync(`${path}-shm`));
  });

  test("of two handles see each other's writes", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const checkpoint = { walBytes: 1, quietMs: 1 };
    await using one = Records.open(path, { logger: silentLogger, checkpoint });
    await using two = Records.open(path, { logger: silentLogger, checkpoint });
    for (let n = 0; n < 20; n++) {
      one.sandboxes.put(bareSandbox(`one-${n}`));
      two.sandboxes.put(bareSandbox(`two-${n}`));
      assert.equal(one.sandboxes.load().length, 2 * n + 2);
      assert.deepEqual(two.counts(), one.counts());
    }
    await until("both logs are carried over", () => one.walBytes() === 0);
    assert.equal(two.sandboxes.load().length, 40);
  });

  test("hold every write that returned when the writer is killed, ten times over", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const acknowledged = new Map<string, number>();
    let generation = 0;
    for (let life = 1; life <= 10; life++) {
      const child = spawn(process.execPath, [writer, path, "ack", String(generation)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = once(child, "exit");
      let lines = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        const [id = "", written = ""] = line.split(" ");
        acknowledged.set(id, Number(written));
        generation = Number(written) + 1;
        // The pipe is read to its end after the kill, because its last lines were acknowledged, too.
        if (++lines === 50 + life * 37) child.kill("SIGKILL");
      }
      await exited;
      assert.ok(lines >= 50 + life * 37);
      const loaded = await afterRestart(path, (records) => {
        assert.deepEqual(records.setAside(), []);
        return new Map(records.sandboxes.load().map((it) => [it.id, Number(it.bootId)]));
      });
      for (const [id, written] of acknowledged) {
        const found = loaded.get(id) ?? -1;
        assert.ok(
          found >= written,
          `life ${life}: ${id} was written as ${written}, read as ${found}`,
        );
      }
    }
  });

  test("do not keep a process alive, and lose nothing when it ends without closing them", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    const child = spawn(process.execPath, [writer, path, "leave", "25"], { stdio: "inherit" });
    const [code] = (await once(child, "exit")) as [number | null];
    assert.equal(code, 0);
    const counts = await afterRestart(path, (records) => records.counts());
    assert.equal(counts.sandboxes, 25);
  });
});

/** deepEqual compares protobuf messages by their prototypes too: compare what is on the wire. */
function plain(sandbox: Sandbox): unknown {
  const request = create(RunPodSandboxRequestSchema, { config: sandbox.config });
  return {
    ...sandbox,
    requestBytes: [...sandbox.requestBytes],
    resourcesBytes: sandbox.resourcesBytes && [...sandbox.resourcesBytes],
    config: [...toBinary(RunPodSandboxRequestSchema, request)],
  };
}
