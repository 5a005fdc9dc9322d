import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { silentLogger } from "../../base/logger.ts";
import { RunPodSandboxRequestSchema } from "../../gen/runtime/v1/api_pb.ts";
import { attachmentRows } from "./attachment-row.ts";
import { Records } from "./index.ts";
import { sandboxRows } from "./sandbox-row.ts";
import { type Damage, damage, sub } from "./testing/damage.ts";
import { fullAttachment, fullSandbox, MemoryLogger, temporaryDirectory } from "./testing/sample.ts";

const noMetadata = toBinary(
  RunPodSandboxRequestSchema,
  create(RunPodSandboxRequestSchema, { config: { hostname: "h" } }),
);

const sandboxDamages: readonly Damage[] = [
  { what: "text that is not JSON", column: "state", to: '{"v":1,', reason: /not JSON/ },
  { what: "JSON that is not an object", column: "state", to: "[1]", reason: /not a JSON object/ },
  { what: "JSON null", column: "state", to: "null", reason: /not a JSON object/ },
  {
    what: "an unknown record version",
    column: "version",
    to: 2,
    reason: /version must be 1; it is 2/,
  },
  { what: "an absurd record version", column: "version", to: 2n ** 62n, reason: /it is 4611686/ },
  {
    what: "an unknown JSON version",
    column: "state",
    to: (json) => (json["v"] = 7),
    reason: /"v"/,
  },
  {
    what: "bytes that are not protobuf",
    column: "request",
    to: Uint8Array.of(0xff),
    reason: /"request"/,
  },
  {
    what: "a request without config",
    column: "request",
    to: new Uint8Array(0),
    reason: /no config/,
  },
  { what: "a config without metadata", column: "request", to: noMetadata, reason: /no metadata/ },
  {
    what: "broken resources",
    column: "resources",
    to: Uint8Array.of(0x0a, 9),
    reason: /"resources"/,
  },
  {
    what: "no boot id",
    column: "state",
    to: (json) => delete json["bootId"],
    reason: /"bootId".*it is absent/,
  },
  {
    what: "a number as creation time",
    column: "state",
    to: (json) => (json["createdAtNs"] = 5),
    reason: /"createdAtNs".*it is 5/,
  },
  {
    what: "words as creation time",
    column: "state",
    to: (json) => (json["createdAtNs"] = "now"),
    reason: /"createdAtNs"/,
  },
  {
    what: "no state",
    column: "state",
    to: (json) => delete json["state"],
    reason: /"state".*it is absent/,
  },
  {
    what: "an unknown state",
    column: "state",
    to: (json) => (json["state"] = { name: "flying" }),
    reason: /"state.name".*flying/,
  },
  {
    what: "a death without time",
    column: "state",
    to: (json) => (json["state"] = { name: "dead", reason: "" }),
    reason: /"state.atNs"/,
  },
  {
    what: "no handler",
    column: "state",
    to: (json) => (json["handler"] = null),
    reason: /"handler".*null/,
  },
  {
    what: "a handler without controller",
    column: "state",
    to: (json) => delete sub(json, "handler")["controller"],
    reason: /"handler.controller"/,
  },
  {
    what: "a pid in words",
    column: "state",
    to: (json) => (sub(json, "process")["pid"] = "1"),
    reason: /"process.pid"/,
  },
  {
    what: "a pid with a fraction",
    column: "state",
    to: (json) => (sub(json, "process")["pid"] = 1.5),
    reason: /"process.pid"/,
  },
  {
    what: "a cgroup without parent",
    column: "state",
    to: (json) => (json["cgroup"] = {}),
    reason: /"cgroup.parent"/,
  },
  {
    what: "addresses that are not texts",
    column: "state",
    to: (json) => (sub(json, "network")["ips"] = [1]),
    reason: /"network.ips"/,
  },
  {
    what: "a path that is a number",
    column: "state",
    to: (json) => (json["netnsPath"] = 3),
    reason: /"netnsPath"/,
  },
];

const attachmentDamages: readonly Damage[] = [
  { what: "text that is not JSON", column: "body", to: "", reason: /not JSON/ },
  { what: "an unknown record version", column: "version", to: 9, reason: /it is 9/ },
  {
    what: "no conflist",
    column: "body",
    to: (json) => delete json["conflist"],
    reason: /"conflist"/,
  },
  {
    what: "a result that is an object",
    column: "body",
    to: (json) => (json["result"] = {}),
    reason: /"result"/,
  },
  {
    what: "tries in words",
    column: "body",
    to: (json) => (sub(json, "removal")["tries"] = "3"),
    reason: /"removal.tries"/,
  },
  {
    what: "a queue mark in words",
    column: "body",
    to: (json) => (sub(json, "removal")["queued"] = "yes"),
    reason: /"removal.queued"/,
  },
];

async function prepared(path: string): Promise<void> {
  await using records = Records.open(path, { logger: silentLogger });
  for (const id of ["before", "bad", "after"]) {
    records.sandboxes.put(fullSandbox(id));
    records.attachments.put(fullAttachment(id));
  }
}

describe("Records.sandboxes.load()", () => {
  for (const one of sandboxDamages) {
    test(`sets a record with ${one.what} aside and loads the others`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      const logger = new MemoryLogger();
      await prepared(path);
      damage(path, sandboxRows, "bad", one);
      {
        await using records = Records.open(path, { logger });
        assert.deepEqual(
          records.sandboxes.load().map(({ id }) => id),
          ["before", "after"],
        );
        const { sandboxes, attachments, setAside } = records.counts();
        assert.deepEqual(
          { sandboxes, attachments, setAside },
          { sandboxes: 2, attachments: 3, setAside: 1 },
        );
        // The second time nothing is left to set aside.
        assert.equal(records.sandboxes.load().length, 2);
      }
      await using records = Records.open(path, { logger });
      const [aside, ...others] = records.setAside();
      assert.deepEqual(others, []);
      assert.equal(aside?.kind, "sandbox");
      assert.equal(aside.id, "bad");
      assert.match(aside.reason, one.reason);
      const lines = logger.of("error").map(({ fields }) => fields);
      assert.deepEqual(lines, [{ kind: "sandbox", id: "bad", reason: aside.reason }]);
    });
  }

  test("takes the time of the first write for a record that lost its creation time", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    let now = 1_764_000_000_500;
    const clock = { nowMs: () => now, nowNs: () => 0n };
    {
      await using records = Records.open(path, { logger: silentLogger, clock });
      records.sandboxes.put(fullSandbox("bad"));
      now += 60_000;
      records.sandboxes.put({ ...fullSandbox("bad"), createdAtNs: undefined });
    }
    await using records = Records.open(path, { logger: silentLogger });
    const [loaded] = records.sandboxes.load();
    assert.equal(loaded?.createdAtNs, 1_764_000_000_500_000_000n);
    assert.deepEqual(records.setAside(), []);
  });

  test("ignores fields that a later davit may add to the same version", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await prepared(path);
    const to = (json: Record<string, unknown>): void => {
      json["later"] = { x: 1 };
    };
    damage(path, sandboxRows, "bad", { column: "state", to });
    await using records = Records.open(path, { logger: silentLogger });
    assert.equal(records.sandboxes.load().length, 3);
  });
});

describe("Records.attachments.load()", () => {
  for (const one of attachmentDamages) {
    test(`sets a record with ${one.what} aside and loads the others`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      await prepared(path);
      damage(path, attachmentRows, "bad", one);
      await using records = Records.open(path, { logger: silentLogger });
      assert.deepEqual(
        records.attachments.load().map(({ sandboxId }) => sandboxId),
        ["before", "after"],
      );
      const [aside] = records.setAside();
      assert.equal(aside?.kind, "attachment");
      assert.equal(aside.id, "bad");
      assert.match(aside.reason, one.reason);
    });
  }
});
