import assert from "node:assert/strict";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { parseCommandLine } from "./parse.ts";
import { closest, closestCommand } from "./suggest.ts";

const visible = commands.filter(({ hidden }) => hidden !== true).map(({ name }) => name);

/** The error for a word that is not a command. */
function errorFor(word: string): string {
  try {
    parseCommandLine([word], commands);
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail(`"${word}" is a command`);
}

test("no command that changes something is suggested for another word", () => {
  // These once suggested pull, serve, run, stop, rmi and rm.
  for (const word of ["kil", "push", "login", "rmpp", "uj", "kill9"]) {
    assert.doesNotMatch(
      errorFor(word),
      /did you mean "(stop|pull|logs|serve|stats|run|rm|rmi)"/,
      word,
    );
  }
  // Words of two letters, or as similar to one command as to another, are ambiguous.
  for (const word of ["rn", "rum", "rim", "ship", "server2", "step-up", "", "x"]) {
    assert.doesNotMatch(errorFor(word), /did you mean/, word);
  }
});

test("top is suggested for its typos only", () => {
  for (const word of ["tpo", "otp", "tops", "topp"]) {
    assert.equal(closestCommand(word, visible), "top", word);
  }
  for (const word of ["sop", "stpo", "tail", "trace", "pop", "mop", "stat"]) {
    assert.notEqual(closestCommand(word, visible), "top", word);
  }
});

test("a typo of a command is recognized", () => {
  const typos = {
    stpo: "stop",
    stopp2: undefined,
    sop: "stop",
    dwon: "down",
    exce: "exec",
    sevre: "serve",
    psuh: undefined,
    imgaes: "images",
    pod: "pods",
    inpsetc: "inspect",
    sp: "ps",
    verison: "version",
    confg: "config",
  };
  for (const [word, meant] of Object.entries(typos)) {
    assert.equal(closestCommand(word, ["config", ...visible]), meant, word);
  }
});

test("closest() requires the same first letter and few differences", () => {
  assert.equal(closest("db", ["web"]), undefined);
  assert.equal(closest("tow", ["two"]), "two");
  assert.equal(closest("form", ["force"]), undefined);
  assert.equal(closest("replcae", ["replace", "replica"]), "replace");
  assert.equal(closest("", ["a"]), undefined);
});

test("commands that remove much are never suggested", () => {
  const words = ["kil", "killl", "uninstal", "image prun", "sytem prune"];
  for (const word of words) assert.equal(closestCommand(word, visible), undefined, word);
});
