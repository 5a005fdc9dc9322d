/** The language gate finds what words.txt names, and nothing that reads alike. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { findWords, formatFinding, parseAllowed, parseMarkers } from "./word-search.ts";

const read = (file: string): string => readFileSync(path.join(import.meta.dirname, file), "utf8");

const markers = parseMarkers(read("words.txt"));
const sample = parseMarkers("folders? | directory | POSIX\nhead start|=\\bKept\\b | other | why");

/** What is found in a text, as "line: word". */
function found(text: string, by = markers, file = "src/a.ts"): readonly string[] {
  return findWords(file, text, by, []).map((each) => `${each.line}: ${each.found}`);
}

describe("findWords()", () => {
  test("splits names in all their spellings", () => {
    const text = "makeFolder\nFOLDERS\nfolder-step.ts\nthe_folder\nHTTPFolder\nunfolded";
    assert.deepEqual(
      found(text, sample).map((each) => each.slice(0, 1)),
      ["1", "2", "3", "4", "5"],
    );
  });

  test("finds a phrase over the end of a line, in comments of every kind", () => {
    for (const lead of ["", " * ", "// ", "# ", "-- ", "| "]) {
      assert.deepEqual(found(`${lead}a head\n${lead}start`, sample), ["1: head start"], lead);
    }
    assert.deepEqual(found("headStart()", sample), ["1: head start"]);
  });

  test("matches what follows = as it is written", () => {
    assert.deepEqual(found("Kept\nkept\nKeptOnes", sample), ["1: Kept"]);
  });

  test("reads the file's name", () => {
    assert.deepEqual(found("", sample, "src/folder-step.ts"), ["0: folder"]);
  });

  test("lets a text stay in the file, or below the directory, that is named", () => {
    const allowed = parseAllowed("src/cli | pods-folder | contract\n* | no-folder | contract");
    const text = "pods-folder, no-folder, a folder";
    const inFile = (file: string): number => findWords(file, text, sample, allowed).length;
    assert.equal(inFile("src/cli/run.ts"), 1);
    assert.equal(inFile("src/client.ts"), 2);
  });

  test("says where, what, what to say, and why", () => {
    const [first] = findWords("a.ts", "\na folder", sample, []);
    assert.ok(first);
    assert.equal(formatFinding(first), 'a.ts:2: "folder": say directory (POSIX)');
  });
});

describe("words.txt", () => {
  const bad = [
    "make it anew",
    "for ever",
    "what is no device is refused",
    "it is none",
    "takes up the pods",
    "the write is owed",
    "a stray process",
    "whereof",
    "and the like",
    "what came of it",
    "all is well",
    "const remains = new Remains()",
    "await this.letGoOn(id)",
    "the door of the addon",
    "comeIn()",
    "goes on",
    "pinned but for one",
    "stands behind the name",
    "one look",
  ];
  for (const text of bad) {
    test(`finds "${text}"`, () => {
      assert.notEqual(found(text).length, 0);
    });
  }

  const good = [
    "there is no such file",
    "it is no longer there",
    "there is none",
    "as well as the image, which is well known",
    "the front door of a noun (index.ts)",
    "it remains valid, and remains of use",
    "in two places, and in other places.",
    "it stands in for the registry",
    "look at the file",
    "so as to finish",
    "a pod takes up to four namespaces",
    "forever unfolded, mandatory, amended",
    "letting goroutines run",
  ];
  for (const text of good) {
    test(`passes "${text}"`, () => {
      assert.deepEqual(found(text), []);
    });
  }
});
