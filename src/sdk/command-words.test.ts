import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExecValue } from "./api/container.ts";
import { commandWords } from "./command-words.ts";

const words = (template: TemplateStringsArray, ...values: ExecValue[]): readonly string[] =>
  commandWords(template, values);

test("commandWords() makes one argument of each value, whatever it contains", () => {
  assert.deepEqual(words`ls -l ${"a b; rm -rf /"}`, ["ls", "-l", "a b; rm -rf /"]);
  assert.deepEqual(words`${"/bin/x y"}`, ["/bin/x y"]);
  assert.deepEqual(words`echo ${""} end`, ["echo", "", "end"]);
  assert.deepEqual(words`head -n ${3} --file=${"a b"}.txt`, ["head", "-n", "3", "--file=a b.txt"]);
  assert.deepEqual(words`${"a"}${"b"} ${"c"}`, ["ab", "c"]);
});

test("commandWords() makes several arguments of a list", () => {
  assert.deepEqual(words`cp ${["a b", "c"]} ${"/d"}`, ["cp", "a b", "c", "/d"]);
  assert.deepEqual(words`run ${[]}`, ["run"]);
  assert.throws(() => words`cp x${["a"]}`, { kind: "invalid" });
  assert.throws(() => words`cp ${["a"]}x`, { kind: "invalid" });
});

test("commandWords() splits the text at any white space", () => {
  assert.deepEqual(
    words`
      find ${"."}
        -name x
    `,
    ["find", ".", "-name", "x"],
  );
});

test("commandWords() rejects what only a shell understands", () => {
  for (const text of [
    "echo 'a'",
    'echo "a"',
    "a | b",
    "a && b",
    "a > b",
    "a 2>&1",
    "a; b ;",
    "a\\b",
  ]) {
    const template = Object.assign([text], { raw: [text] });
    if (text === "a; b ;") {
      assert.throws(() => commandWords(template, []), { kind: "invalid" }, text);
      continue;
    }
    assert.throws(() => commandWords(template, []), { kind: "invalid", message: /no shell/ }, text);
  }
  assert.throws(() => words` `, { kind: "invalid" });
});
