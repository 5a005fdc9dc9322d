import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { silentLogger } from "../../base/logger.ts";
import type { Container, ContainerState } from "../../core/container/index.ts";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
  LinuxContainerResourcesSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { containerRows } from "./container-row.ts";
import { Records } from "./index.ts";
import { type Damage, damage, sub } from "./testing/damage.ts";
import {
  bareContainer,
  fullContainer,
  MemoryLogger,
  temporaryDirectory,
} from "./testing/sample.ts";

/** Writes with one handle, reads with another. */
async function writtenAndRead(
  path: string,
  containers: readonly Container[],
): Promise<readonly Container[]> {
  {
    await using records = Records.open(path, { logger: silentLogger });
    for (const container of containers) records.containers.put(container);
  }
  await using records = Records.open(path, { logger: silentLogger });
  return records.containers.load();
}

const process = { pid: 4711, startTime: "18446744073709551615" };
const monitor = { pid: 4710, startTime: "9" };
const exited: ContainerState = {
  name: "exited",
  startedAtNs: 9_007_199_254_740_993n,
  finishedAtNs: 1_764_000_000_123_456_789n,
  exitCode: 137,
  reason: "OOMKilled",
  message: "out of\nmemory",
  usage: { takenAtNs: 1_764_000_000_123_456_790n, cpuNs: 9_007_199_254_740_993n, oomKills: 1n },
};

describe("Records of containers", () => {
  test("keep every field, in every state", async () => {
    using directory = temporaryDirectory();
    const startedAtNs = 9_007_199_254_740_993n;
    const states: Readonly<Record<string, ContainerState>> = {
      creating: { name: "creating" },
      created: { name: "created" },
      running: { name: "running", startedAtNs, process, monitor },
      paused: { name: "running", startedAtNs, process, monitor, pausedAtNs: startedAtNs + 1n },
      unwatched: { name: "running", startedAtNs, process, monitor: undefined },
      exited,
    };
    const containers: Container[] = [
      ...Object.entries(states).map(([id, state]) => ({ ...fullContainer(id), state })),
      bareContainer("bare"),
    ];
    const loaded = await writtenAndRead(join(directory.path, "davit.db"), containers);
    assert.deepEqual(loaded.map(plain), containers.map(plain));
  });

  test("give request bytes back as they came, with fields that this version does not know", async () => {
    using directory = temporaryDirectory();
    const container = fullContainer("a");
    // Field 9999, length-delimited, and the sandbox's id a second time.
    const unknown = [0xfa, 0xf0, 0x04, 0x03, 1, 2, 3, 0x0a, 0x04, 0x6f, 0x76, 0x65, 0x72];
    const bytes = [...container.requestBytes, ...unknown];
    // A view into a larger buffer, like the message of a gRPC frame.
    const requestBytes = Uint8Array.from([9, 9, 9, ...bytes, 9]).subarray(3, 3 + bytes.length);
    const path = join(directory.path, "davit.db");
    const [loaded] = await writtenAndRead(path, [{ ...container, requestBytes }]);
    assert.deepEqual([...(loaded?.requestBytes ?? [])], bytes);
    assert.equal(loaded?.config.metadata?.name, "ctr-a");
    assert.equal(loaded.sandboxId, "pod-of-a");
  });

  test("distinguish no resources from empty ones, and have the newest", async () => {
    using directory = temporaryDirectory();
    const before = fullContainer("a");
    const empty = create(LinuxContainerResourcesSchema);
    const path = join(directory.path, "davit.db");
    const loaded = await writtenAndRead(path, [
      before,
      { ...before, resources: empty },
      { ...fullContainer("b"), resources: undefined },
    ]);
    const [a, b, ...others] = loaded.map(({ resources }) => resources);
    assert.deepEqual(a, empty);
    assert.equal(b, undefined);
    assert.deepEqual(others, []);
  });

  test("load in the order of the first writes", async () => {
    using directory = temporaryDirectory();
    const containers = ["z", "m", "a", "z"].map(fullContainer);
    const loaded = await writtenAndRead(join(directory.path, "davit.db"), containers);
    assert.deepEqual(
      loaded.map(({ id }) => id),
      ["z", "m", "a"],
    );
  });

  test("take the time of the first write for a creation time that got lost", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    let now = 1_764_000_000_500;
    const clock = { nowMs: () => now, nowNs: () => 0n };
    {
      await using records = Records.open(path, { logger: silentLogger, clock });
      records.containers.put(fullContainer("a"));
      now += 60_000;
      records.containers.put({ ...fullContainer("a"), state: exited });
    }
    damage(path, containerRows, "a", { column: "state", to: (it) => delete it["createdAtNs"] });
    await using records = Records.open(path, { logger: silentLogger });
    const [loaded] = records.containers.load();
    assert.equal(loaded?.createdAtNs, 1_764_000_000_500_000_000n);
    assert.deepEqual(loaded.state, exited);
  });

  test("ignore fields that a later davit may add to the same version", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await writtenAndRead(path, [fullContainer("a")]);
    damage(path, containerRows, "a", { column: "state", to: (json) => (json["later"] = {}) });
    await using records = Records.open(path, { logger: silentLogger });
    assert.deepEqual(records.containers.load().map(plain), [plain(fullContainer("a"))]);
  });
});

const noMetadata = toBinary(
  CreateContainerRequestSchema,
  create(CreateContainerRequestSchema, { config: create(ContainerConfigSchema) }),
);

const running = { name: "running", startedAtNs: "1", process };

/** A damage of the JSON in the column `state`. */
const json = (
  what: string,
  to: (json: Record<string, unknown>) => unknown,
  reason: RegExp,
): Damage => ({ what, column: "state", to, reason });

const damages: readonly Damage[] = [
  { what: "text that is not JSON", column: "state", to: '{"v":1,', reason: /not JSON/ },
  { what: "JSON that is not an object", column: "state", to: "[]", reason: /not a JSON object/ },
  {
    what: "an unknown record version",
    column: "version",
    to: 2,
    reason: /version must be 1; it is 2/,
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
    to: Uint8Array.of(0x08, 0xff),
    reason: /"resources"/,
  },
  json("an unknown JSON version", (it) => (it["v"] = 7), /"v"/),
  json("no boot id", (it) => delete it["bootId"], /"bootId".*it is absent/),
  json("a number as creation time", (it) => (it["createdAtNs"] = 5), /"createdAtNs".*it is 5/),
  json("no image", (it) => delete it["image"], /"image".*it is absent/),
  json("a short image id", (it) => (sub(it, "image")["id"] = "sha256:12"), /"image.id".*sha256:12/),
  json("a number as image id", (it) => (sub(it, "image")["id"] = 12), /"image.id".*it is 12/),
  json(
    "a layer that is not a digest",
    (it) => (sub(it, "image")["layers"] = ["x"]),
    /"image.layers"/,
  ),
  json("no layers", (it) => delete sub(it, "image")["layers"], /"image.layers"/),
  json("no name of its image", (it) => delete sub(it, "image")["shown"], /"image.shown"/),
  json("no reference of its image", (it) => delete sub(it, "image")["ref"], /"image.ref"/),
  json("no requested image", (it) => delete sub(it, "image")["requested"], /"image.requested"/),
  json("no user", (it) => (it["user"] = null), /"user".*null/),
  json("a user in words", (it) => (sub(it, "user")["uid"] = "root"), /"user.uid".*root/),
  json("a number as group", (it) => (sub(it, "user")["gid"] = 0), /"user.gid".*it is 0/),
  json("numbers as groups", (it) => (sub(it, "user")["supplementalGroups"] = [1]), /supplementalG/),
  json("no more groups", (it) => delete sub(it, "user")["supplementalGroups"], /supplementalG/),
  json("no stop signal", (it) => delete it["stopSignal"], /"stopSignal"/),
  json("no log path", (it) => delete it["logPath"], /"logPath"/),
  json("a word whether it logs", (it) => (it["hasLog"] = "yes"), /"hasLog"/),
  json("no cgroup", (it) => delete it["cgroupPath"], /"cgroupPath"/),
  json("no state", (it) => delete it["state"], /"state".*it is absent/),
  json("an unknown state", (it) => (it["state"] = { name: "flying" }), /"state.name".*flying/),
  json("a start without time", (it) => (it["state"] = { name: "running" }), /"state.startedAtNs"/),
  json(
    "a run without process",
    (it) => (it["state"] = { ...running, process: 1 }),
    /"state.process"/,
  ),
  json(
    "a broken monitor",
    (it) => (it["state"] = { ...running, monitor: {} }),
    /"state.monitor.pid"/,
  ),
  json(
    "an exit code in words",
    (it) => (it["state"] = { name: "exited", startedAtNs: "1", finishedAtNs: "2", exitCode: "0" }),
    /"state.exitCode"/,
  ),
  json(
    "an end without time",
    (it) => (it["state"] = { name: "exited", startedAtNs: "1", exitCode: 0 }),
    /"state.finishedAtNs"/,
  ),
];

describe("Records.containers.load()", () => {
  for (const one of damages) {
    test(`sets a record with ${one.what} aside and loads the others`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      const logger = new MemoryLogger();
      const bad = fullContainer("bad");
      await writtenAndRead(path, [fullContainer("before"), bad, fullContainer("after")]);
      damage(path, containerRows, "bad", one);
      {
        await using records = Records.open(path, { logger });
        // The second time nothing is left to set aside.
        for (let twice = 0; twice < 2; twice++) {
          const ids = records.containers.load().map(({ id }) => id);
          assert.deepEqual(ids, ["before", "after"]);
          const { containers, setAside } = records.counts();
          assert.deepEqual({ containers, setAside }, { containers: 2, setAside: 1 });
        }
        const [aside] = records.setAside();
        assert.equal(aside?.kind, "container");
        assert.equal(aside.id, "bad");
        assert.match(aside.reason, one.reason);
        const lines = logger.of("error").map(({ fields }) => fields);
        assert.deepEqual(lines, [{ kind: "container", id: "bad", reason: aside.reason }]);
      }
      using raw = new DatabaseSync(path);
      const body = raw.prepare("SELECT CAST(body AS TEXT) AS body FROM set_aside").get()?.["body"];
      const row = JSON.parse(String(body)) as Record<string, unknown>;
      assert.equal(row["sandbox_id"], bad.sandboxId);
    });
  }
});

/** deepEqual compares protobuf messages by their prototypes too: compare what is on the wire. */
function plain(container: Container): unknown {
  const { requestBytes, config, resources } = container;
  return {
    ...container,
    requestBytes: [...requestBytes],
    config: [...toBinary(ContainerConfigSchema, config)],
    resources: resources && [...toBinary(LinuxContainerResourcesSchema, resources)],
  };
}
