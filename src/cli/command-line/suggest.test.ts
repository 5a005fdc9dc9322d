import assert from "node:assert/strict";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { parseCommandLine } from "./parse.ts";
import { closest, closestCommand, otherTools } from "./suggest.ts";

const visible = commands.filter(({ hidden }) => hidden !== true).map(({ name }) => name);

/** What the command line says of a word that is no command. */
function said(word: string): string {
  try {
    parseCommandLine([word], commands);
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail(`"${word}" is a command`);
}

test("no command that changes something is suggested for another word", () => {
  // What was proposed for these once: stop, pull, logs, serve, stats, run, stop, rmi, rm.
  for (const word of ["top", "kill", "push", "login", "load", "save", "start", "ui", "rmp"]) {
    assert.doesNotMatch(said(word), /did you mean "(stop|pull|logs|serve|stats|run|rm|rmi)"/, word);
  }
  // Of two letters, or as near to one command as to another: nobody knows which one is meant.
  for (const word of ["rn", "rum", "rim", "ship", "server2", "step-up", "", "x"]) {
    assert.doesNotMatch(said(word), /did you mean/, word);
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

test("commands of other tools do not exist in davit, and refer to existing commands", () => {
  for (const [word, hint] of Object.entries(otherTools)) {
    assert.equal(visible.includes(word), false, `"${word}" is a command: take its hint away`);
    assert.equal(said(word), `unknown command "${word}": ${hint}`);
    for (const [, name = ""] of hint.matchAll(/"davit ([a-z-]+)/g)) {
      assert.ok(visible.includes(name), `${word}: there is no "davit ${name}"`);
    }
  }
});
