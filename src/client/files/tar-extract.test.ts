import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { TarExtractor } from "./tar-extract.ts";
import { packTar } from "./tar-pack.ts";

let dir = "";
before(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-copy-"));
});
after(() => {
  rmSync(dir, { recursive: true });
});

/** Extracts the archive in chunks of 700 bytes. Returns the skipped paths. */
function extract(archive: Buffer, prefix: string, target: string): readonly string[] {
  const skipped: string[] = [];
  const extractor = new TarExtractor({ prefix, target, onSkipped: (path) => skipped.push(path) });
  try {
    for (let at = 0; at < archive.length; at += 700)
      extractor.write(archive.subarray(at, at + 700));
    extractor.end();
  } finally {
    extractor.close();
  }
  return skipped;
}

const build = (...entries: readonly BuiltEntry[]): Buffer => buildTar(entries);

test("TarExtractor extracts the archives of packTar(), also with long and unusual names", async () => {
  const source = join(dir, "source");
  const long = `${"l".repeat(90)}/${"ü".repeat(100)}`;
  mkdirSync(join(source, "l".repeat(90)), { recursive: true });
  mkdirSync(join(source, "empty"));
  writeFileSync(join(source, long), "long");
  writeFileSync(join(source, "big"), Buffer.alloc(200_001, "b"), { mode: 0o640 });
  writeFileSync(join(source, "none"), "");
  symlinkSync("big", join(source, "link"));
  const pieces: Buffer[] = [];
  for await (const piece of packTar(source, "name", () => assert.fail())) pieces.push(piece);
  const target = join(dir, "target");
  assert.deepEqual(extract(Buffer.concat(pieces), "name", target), ["name/link"]);
  assert.equal(readFileSync(join(target, long), "utf8"), "long");
  assert.deepEqual(readFileSync(join(target, "big")), Buffer.alloc(200_001, "b"));
  assert.equal(statSync(join(target, "big")).mode & 0o777, 0o640);
  assert.equal(readFileSync(join(target, "none"), "utf8"), "");
  assert.ok(statSync(join(target, "empty")).isDirectory());
});

test("TarExtractor writes nothing outside of its target", () => {
  const target = join(dir, "jail");
  const outside = join(dir, "outside");
  mkdirSync(target);
  mkdirSync(outside);
  symlinkSync(outside, join(target, "way"));
  symlinkSync(join(outside, "file"), join(target, "file"));
  const refused = (...entries: readonly BuiltEntry[]): void => {
    assert.throws(
      () => extract(build(...entries), "a", target),
      (e) => isKind(e, "invalid-argument"),
    );
  };
  refused({ name: "a/../../outside/x", data: "x" });
  refused({ name: "../outside/x", data: "x" });
  refused({ name: "/etc/x", data: "x" });
  refused({ name: "b/x", data: "x" });
  refused({ name: "a/way/x", data: "x" });
  refused({ name: "a/file", data: "x" });
  const links = build(
    { name: "a/out", type: "2", linkName: outside },
    { name: "a/hard", type: "1", linkName: "/etc/passwd" },
    { name: "a/out/x", data: "x" },
  );
  assert.deepEqual(extract(links, "a", target), ["a/out", "a/hard"]);
  assert.ok(statSync(join(target, "out")).isDirectory(), "a directory, as the link was not made");
  for (const name of ["x", "file"]) assert.equal(existsSync(join(outside, name)), false);
  assert.throws(() => extract(build({ name: "a/y", data: "yy" }).subarray(0, 513), "a", target));
});
