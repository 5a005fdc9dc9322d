import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { idPool, ownIdsPolicy, parseSubIds } from "./own-ids.ts";

const automatic = { firstId: 0, length: 65_536 };

test("parseSubIds() skips what is not a range of ids", () => {
  const text =
    "# comment\na:100000:65536\n\nb:1:0\nc:4294967295:1\nd:x:1\ne:1\n1000:5:6 \nf:1:2:3\n";
  assert.deepEqual(parseSubIds(text), [
    { user: "a", hostId: 100_000, length: 65_536 },
    { user: "1000", hostId: 5, length: 6 },
  ]);
});

describe("idPool()", () => {
  test("takes what nobody assigns where there is no entry", () => {
    const { first, end, reserved } = idPool(automatic, "", "");
    assert.deepEqual([first, end, reserved], [0x7000_0000, 0x7ffe_0000, []]);
  });

  test("takes the entry of davit, else that of containers, if both files have it", () => {
    const both = "containers:200000:1000000\ndavit:5000000:131072\nalice:100000:65536\n";
    const pool = idPool(automatic, both, both);
    assert.deepEqual([pool.first, pool.end], [5_000_000, 5_131_072]);
    assert.ok(pool.reserved.some(({ hostId }) => hostId === 200_000));
    assert.ok(pool.reserved.every(({ hostId }) => hostId !== 5_000_000));
    const one = idPool(automatic, both, "containers:200000:1000000\n");
    assert.deepEqual([one.first, one.end], [200_000, 1_200_000]);
    assert.equal(idPool(automatic, both, "").first, 0x7000_0000);
  });

  test("takes the configured id, and reserves what others have", () => {
    const subuid = "davit:5000000:131072\nalice:100000:65536\n";
    const pool = idPool({ firstId: 100_000, length: 1000 }, subuid, "bob:300000:5\n");
    assert.deepEqual([pool.first, pool.length], [100_000, 1000]);
    assert.deepEqual(
      pool.reserved.map(({ hostId }) => hostId),
      [5_000_000, 100_000, 300_000],
    );
    assert.equal(idPool({ firstId: 4_294_900_000, length: 1000 }, "", "").end, 2 ** 32 - 1);
  });
});

test("ownIdsPolicy() gives no pod ids of its own where the kernel does not suffice, and says so", () => {
  const warnings: unknown[] = [];
  const log: Logger = {
    ...silentLogger,
    warn: (_message, fields) => void warnings.push(fields?.["reason"]),
  };
  const runtime = { userNamespaceFirstId: 100_000, userNamespaceIds: 65_536 };
  const config = { runtime, root: "/", state: "/" } as Parameters<typeof ownIdsPolicy>[0];
  const policyOn = (kernel: string | undefined) =>
    ownIdsPolicy(config, (name) => (name === "a" ? "auto" : "requested"), log, kernel);
  const old = policyOn("Linux 6.1 is too old");
  assert.equal(old.obstacle(), "Linux 6.1 is too old");
  assert.deepEqual(warnings, ["Linux 6.1 is too old"]);
  assert.deepEqual(
    ["a", "r"].map((name) => old.isFor({ name } as Parameters<typeof old.isFor>[0])),
    [true, false],
  );
  assert.equal(policyOn(undefined).obstacle(), undefined);
  assert.equal(warnings.length, 1);
});
