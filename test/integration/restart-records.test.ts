/** Records that are damaged, lost or of another version, and calls that arrive before they are read. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ImageService, RuntimeService } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readMounts } from "../support/snapshot/files.ts";
import {
  CONTAINER,
  cgroupsThere,
  code,
  endDaemon,
  failsWith,
  fileOf,
  holderOf,
  infoOf,
  launchDaemon,
  leaklessAcross,
  listIds,
  mountAt,
  NODE,
  NOTREADY,
  openDatabase,
  parentOf,
  pinsOf,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  statusOf,
  takenAddresses,
  until,
  withPod,
} from "../support/suites/pods.ts";
import { patient } from "../support/patience.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
  await withPod(daemon, pod(), async () => undefined);
});
after(() => endDaemon(daemon));

const kinds = {
  "network, holder": { pid: POD },
  "network, no holder": { pid: CONTAINER },
  "host network, holder": { network: NODE, pid: POD },
  "host network, no process": { network: NODE, pid: NODE },
  "nothing of its own": { network: NODE, pid: CONTAINER, ipc: NODE },
} as const;

describe("damaged records", () => {
  test("one that cannot be read is set aside and reported; the others are restored", async () => {
    const config = pod({ pid: POD });
    const broken = await runPod(daemon, config);
    const id = await runPod(daemon, pod({ pid: POD }));
    const begun = await statusOf(daemon, id);
    const holder = await holderOf(daemon, broken);
    await daemon.stop();
    {
      using database = openDatabase(daemon);
      database.prepare("UPDATE sandbox SET request = x'0aff' WHERE id = ?").run(broken);
    }
    await launchDaemon(daemon);
    assert.deepEqual(await statusOf(daemon, id), begun);
    assert.deepEqual(await listIds(daemon), [id]);
    await assert.rejects(statusOf(daemon, broken), failsWith(code.notFound));
    const aside = (await runtimeFact(daemon, "recordsSetAside")) as {
      id: string;
      reason: string;
    }[];
    assert.deepEqual(
      aside.map((each) => each.id),
      [broken],
    );
    assert.match(aside[0]?.reason ?? "", /request/);
    // It may be alive, so nothing of it is changed.
    assert.ok(existsSync(`/proc/${holder}`));
    assert.equal(mountAt(pinsOf(daemon, broken).net)?.type, "nsfs");
    assert.equal((await takenAddresses(daemon)).length, 2);
    // The pod itself can run again.
    const again = await runPod(daemon, config);
    for (const each of [again, id]) await removePod(daemon, each);

    // An operator ends it and deletes its record. The next start removes the rest.
    await daemon.stop();
    {
      using database = openDatabase(daemon);
      database.exec("DELETE FROM set_aside");
    }
    await launchDaemon(daemon);
    await untilNothingOf(broken, holder);
    await until("its address is free", async () => (await takenAddresses(daemon)).length === 0);
    for (const directory of cgroupsThere(parentOf(config))) rmdirSync(directory);
  });

  test(
    "two with one name: one stays, the other is NOTREADY and can be removed",
    leaklessAcross(served, async () => {
      const config = pod({ pid: POD });
      const first = await runPod(daemon, config);
      const second = await runPod(daemon, pod({ pid: POD }));
      await daemon.stop();
      {
        using database = openDatabase(daemon);
        const row = database.prepare("SELECT name, request FROM sandbox WHERE id = ?").get(first);
        database
          .prepare("UPDATE sandbox SET name = ?, request = ? WHERE id = ?")
          .run(row?.["name"] ?? null, row?.["request"] ?? null, second);
      }
      const from = daemon.lines.length;
      await launchDaemon(daemon);
      await daemon.waitForLine(/duplicate sandbox name in the database/, from);
      const states = [
        (await statusOf(daemon, first)).state,
        (await statusOf(daemon, second)).state,
      ];
      assert.deepEqual(states, [NOTREADY, READY]);
      assert.match(
        String((await infoOf(daemon, first))["reason"]),
        /another sandbox in the database has its name/,
      );
      await assert.rejects(
        runPod(daemon, config),
        failsWith(code.alreadyExists, new RegExp(second)),
      );
      await removePod(daemon, first);
      await assert.rejects(
        runPod(daemon, config),
        failsWith(code.alreadyExists, new RegExp(second)),
      );
      await removePod(daemon, second);
      await withPod(daemon, config, async () => undefined);
    }),
  );

  test("a whole database that is damaged: the daemon starts, and sweeps what belongs to no record", async () => {
    const directories: string[] = [];
    const pods: { id: string; holder: number }[] = [];
    for (const modes of Object.values(kinds)) {
      const config = pod(modes);
      if (config.linux !== undefined && pods.length === 0) config.linux.cgroupParent = "";
      const id = await runPod(daemon, config);
      const { pid } = await infoOf(daemon, id);
      pods.push({ id, holder: Number(pid) });
      if (parentOf(config) !== "") directories.push(parentOf(config));
    }
    await daemon.kill9();
    const { root } = daemon.paths;
    for (const name of ["davit.db", "davit.db-wal"]) {
      if (existsSync(path.join(root, name)))
        writeFileSync(path.join(root, name), "garbage ".repeat(5000));
    }
    await launchDaemon(daemon);
    assert.deepEqual(await listIds(daemon), []);
    assert.ok(readdirSync(root).some((name) => name.startsWith("davit.db.corrupt-")));
    for (const { id, holder } of pods) await untilNothingOf(id, holder);
    assert.deepEqual(cgroupsThere(`/davit/${pods[0]?.id ?? ""}`), []);
    // Without the records, davit does not know who created these. It leaves them, empty.
    for (const directory of directories.flatMap(cgroupsThere)) rmdirSync(directory);
    await withPod(daemon, pod({ pid: POD }), async (id) => {
      assert.equal((await statusOf(daemon, id)).state, READY);
    });
  });

  test("a database of a newer davit is refused with a clear error, and not changed", async () => {
    const id = await runPod(daemon, pod({ network: NODE }));
    await daemon.stop();
    const setSchema = (schema: number): void => {
      using database = openDatabase(daemon);
      database.prepare("UPDATE meta SET schema = ?").run(schema);
    };
    const [{ schema }] = readSchema();
    setSchema(99);
    const bytes = readFileSync(path.join(daemon.paths.root, "davit.db"));
    const from = daemon.lines.length;
    daemon.launch();
    assert.notEqual((await daemon.exited).code, 0);
    const said = daemon.lines
      .slice(from)
      .map(({ text }) => text)
      .join("\n");
    assert.match(said, /schema version 99.*newer davit/);
    assert.doesNotMatch(said, /\n\s+at /);
    assert.deepEqual(readFileSync(path.join(daemon.paths.root, "davit.db")), bytes);
    setSchema(schema);
    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, id)).state, READY);
    await removePod(daemon, id);
  });

  function readSchema(): readonly [{ readonly schema: number }] {
    using database = openDatabase(daemon);
    return [{ schema: Number(database.prepare("SELECT schema FROM meta").get()?.["schema"]) }];
  }

  async function untilNothingOf(id: string, holder: number): Promise<void> {
    if (holder > 0) await until("its holder is gone", () => !existsSync(`/proc/${holder}`));
    for (const file of [...Object.values(pinsOf(daemon, id)), fileOf(daemon, id, "")]) {
      assert.equal(existsSync(file), false, file);
    }
    assert.deepEqual(
      readMounts().filter(({ target }) => target.includes(id)),
      [],
    );
  }
});

describe("before recovery is complete", () => {
  test("every RPC except Version is Unavailable, and says why", async () => {
    const id = await runPod(daemon, pod({ network: NODE }));
    await daemon.stop();
    const from = daemon.lines.length;
    daemon.launch({ DAVIT_FAULTS: "recover/load-sandboxes=hang" });
    await daemon.ready();
    type Call = (request: object) => Promise<unknown> | AsyncIterable<unknown>;
    for (const [service, methods] of [
      [RuntimeService, daemon.client.runtime],
      [ImageService, daemon.client.image],
    ] as const) {
      for (const { localName, name } of service.methods) {
        if (localName === "version") continue;
        const call = (methods as unknown as Record<string, Call>)[localName];
        assert.ok(call !== undefined);
        const answer = call({});
        const ended = answer instanceof Promise ? answer : drain(answer);
        await assert.rejects(
          ended,
          failsWith(code.unavailable, new RegExp(`\\b${name}: .*try again`)),
        );
      }
    }
    assert.equal((await daemon.client.runtime.version({})).runtimeName, "davit");
    assert.ok(!daemon.lines.slice(from).some(({ text }) => text.includes('"message":"ready"')));
    // A daemon that is still busy with its start ends as fast as any other.
    const begin = performance.now();
    await daemon.stop();
    assert.ok(performance.now() - begin < patient(5000));
    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, id)).state, READY);
    await removePod(daemon, id);
  });

  async function drain(answers: AsyncIterable<unknown>): Promise<void> {
    for await (const _ of answers);
  }
});
