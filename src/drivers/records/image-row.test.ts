import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Image } from "../../core/image/index.ts";
import { imageRows } from "./image-row.ts";
import { Records } from "./index.ts";
import { type Damage, damage, sub } from "./testing/damage.ts";
import {
  bareImage,
  fullImage,
  MemoryLogger,
  sampleDigest,
  temporaryDirectory,
} from "./testing/sample.ts";

/** Writes with one handle, reads with another. */
async function writtenAndRead(path: string, images: readonly Image[]): Promise<readonly Image[]> {
  {
    await using records = Records.open(path, { logger: silentLogger });
    for (const image of images) records.images.put(image);
  }
  await using records = Records.open(path, { logger: silentLogger });
  return records.images.load();
}

describe("Records of images", () => {
  test("keep every field", async () => {
    using directory = temporaryDirectory();
    const images = [fullImage("1"), bareImage("2")];
    const loaded = await writtenAndRead(join(directory.path, "davit.db"), images);
    assert.deepEqual(loaded, images);
    assert.equal(loaded[0]?.configJson, fullImage("1").configJson);
    assert.deepEqual(Object.keys(loaded[0].config.labels), ["a.b/c", "__proto__"]);
  });

  test("write an image whole, at its position", async () => {
    using directory = temporaryDirectory();
    const images = [fullImage("9"), fullImage("1"), bareImage("9")];
    const loaded = await writtenAndRead(join(directory.path, "davit.db"), images);
    assert.deepEqual(loaded, [bareImage("9"), fullImage("1")]);
  });

  test("ignore fields that a later davit may add to the same version", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await writtenAndRead(path, [fullImage("1")]);
    const to = (json: Record<string, unknown>): void => {
      json["later"] = {};
      sub(json, "config")["later"] = 1;
    };
    damage(path, imageRows, sampleDigest("1"), { column: "body", to });
    await using records = Records.open(path, { logger: silentLogger });
    assert.deepEqual(records.images.load(), [fullImage("1")]);
  });
});

/** A damage of the JSON in the column `body`. */
const json = (
  what: string,
  to: (json: Record<string, unknown>) => unknown,
  reason: RegExp,
): Damage => ({ what, column: "body", to, reason });

/** A damage of the second layer. */
const layer = (what: string, name: string, to: unknown, reason: RegExp): Damage =>
  json(
    what,
    (it) => ((it["layers"] as Record<string, unknown>[])[1] = { ...layerJson, [name]: to }),
    reason,
  );

const layerJson = { diffId: sampleDigest("d"), digest: sampleDigest("e"), sizeBytes: "1" };

const damages: readonly Damage[] = [
  { what: "text that is not JSON", column: "body", to: "", reason: /not JSON/ },
  { what: "JSON null", column: "body", to: "null", reason: /not a JSON object/ },
  { what: "an unknown record version", column: "version", to: 9, reason: /it is 9/ },
  json("an unknown JSON version", (it) => (it["v"] = 2), /"v"/),
  json("no tags", (it) => delete it["repoTags"], /"repoTags".*it is absent/),
  json("a text as digests", (it) => (it["repoDigests"] = "a"), /"repoDigests"/),
  json("a number as size", (it) => (it["sizeBytes"] = 1), /"sizeBytes".*it is 1/),
  json("no layers", (it) => delete it["layers"], /"layers".*it is absent/),
  json("layers that are not objects", (it) => (it["layers"] = ["a"]), /"layers"/),
  layer("a layer without diff id", "diffId", undefined, /"layers\[1\].diffId".*it is absent/),
  layer("capitals in a diff id", "diffId", sampleDigest("d").toUpperCase(), /"layers\[1\].diffId"/),
  layer("a layer of another algorithm", "digest", "sha512:ab", /"layers\[1\].digest".*sha512/),
  layer("a layer with a number as size", "sizeBytes", 4, /"layers\[1\].sizeBytes".*it is 4/),
  json("no config", (it) => delete it["config"], /"config".*it is absent/),
  json("no entrypoint", (it) => delete sub(it, "config")["entrypoint"], /"config.entrypoint"/),
  json("a text as command", (it) => (sub(it, "config")["cmd"] = "sh"), /"config.cmd"/),
  json("an object as environment", (it) => (sub(it, "config")["env"] = {}), /"config.env"/),
  json(
    "no working directory",
    (it) => delete sub(it, "config")["workingDir"],
    /"config.workingDir"/,
  ),
  json("a number as user", (it) => (sub(it, "config")["user"] = 0), /"config.user"/),
  json("a number as signal", (it) => (sub(it, "config")["stopSignal"] = 15), /"config.stopSignal"/),
  json("no volumes", (it) => delete sub(it, "config")["volumes"], /"config.volumes"/),
  json("numbers as labels", (it) => (sub(it, "config")["labels"] = { a: 1 }), /"config.labels"/),
  json("an array as labels", (it) => (sub(it, "config")["labels"] = ["a"]), /"config.labels"/),
  json("its config as an object", (it) => (it["configJson"] = {}), /"configJson"/),
  json("a number as type of artifact", (it) => (it["artifactType"] = 1), /"artifactType"/),
  json("a number as checkpoint", (it) => (it["checkpointOf"] = 1), /"checkpointOf"/),
  json("a word whether it is pinned", (it) => (it["pinned"] = "no"), /"pinned"/),
];

describe("Records.images.load()", () => {
  for (const one of damages) {
    test(`sets a record with ${one.what} aside and loads the others`, async () => {
      using directory = temporaryDirectory();
      const path = join(directory.path, "davit.db");
      await writtenAndRead(path, [fullImage("1"), fullImage("2"), fullImage("3")]);
      damage(path, imageRows, sampleDigest("2"), one);
      await setsAside(path, sampleDigest("2"), one.reason);
    });
  }

  test("sets a record with an invalid id aside and loads the others", async () => {
    using directory = temporaryDirectory();
    const path = join(directory.path, "davit.db");
    await writtenAndRead(path, [fullImage("1"), fullImage("2"), fullImage("3")]);
    damage(path, imageRows, sampleDigest("2"), { column: "id", to: "busybox" });
    await setsAside(path, "busybox", /column "id": it must be a sha256 digest/);
  });
});

/** Loads all but the second one of three images, twice, and logs the reason once. */
async function setsAside(path: string, id: string, reason: RegExp): Promise<void> {
  const logger = new MemoryLogger();
  await using records = Records.open(path, { logger });
  for (let twice = 0; twice < 2; twice++) {
    assert.deepEqual(records.images.load(), [fullImage("1"), fullImage("3")]);
    const { images, setAside } = records.counts();
    assert.deepEqual({ images, setAside }, { images: 2, setAside: 1 });
  }
  const [aside] = records.setAside();
  assert.equal(aside?.kind, "image");
  assert.equal(aside.id, id);
  assert.match(aside.reason, reason);
  const lines = logger.of("error").map(({ fields }) => fields);
  assert.deepEqual(lines, [{ kind: "image", id, reason: aside.reason }]);
}
