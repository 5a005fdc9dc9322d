import assert from "node:assert/strict";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { aliases, aliasesOf, expandAlias } from "./aliases.ts";
import { candidatesFor } from "./completion.ts";
import { CommandFailure, exitCode } from "./exit-code.ts";
import { formatCommand, formatCommandList } from "./help.ts";
import { otherTools } from "./other-tools.ts";
import { findCommand, parseCommandLine } from "./parse.ts";
import { createTerminal } from "../output/terminal.ts";
import { UsageError } from "./usage-error.ts";

const visible = commands.filter(({ hidden }) => hidden !== true);
const { style } = createTerminal({ write: () => true }, { write: () => true }, {});

/** The words of a command line, with the options of a quoted one apart. */
function wordsOf(line: string): string[] {
  return line.split(" ");
}

function errorFor(line: string): Error {
  try {
    parseCommandLine(wordsOf(line), commands);
  } catch (error) {
    return error as Error;
  }
  return assert.fail(`"${line}" is accepted`);
}

/** The lines of davit in a text: those in quotes that begin with its name. */
function davitLines(text: string): string[][] {
  return [...text.matchAll(/"davit ([^"]+)"/g)].map(([, line = ""]) => wordsOf(line));
}

test("no alias is a command itself, and each means an existing one with options that it has", () => {
  for (const [alias, meant] of Object.entries(aliases)) {
    const words = wordsOf(alias);
    assert.equal(
      visible.some(({ name }) => name === alias),
      false,
      `"${alias}" is a command`,
    );
    assert.equal(Object.hasOwn(otherTools, alias), false, `"${alias}" is a hint, too`);
    const command = findCommand(words, visible);
    assert.ok(command !== undefined, `${alias}: "${meant}" does not exist`);
    const [, ...given] = meant.slice(command.name.length).split(" ");
    for (const word of given) {
      const isKnown = Object.entries(command.options).some(
        ([name, spec]) =>
          word === `--${name}` ||
          word === `-${spec.short ?? ""}` ||
          (typeof spec.complete === "object" && spec.complete.includes(word)),
      );
      assert.ok(isKnown, `${alias}: davit ${command.name} has no ${word}`);
    }
  }
});

test("an alias is parsed as what it means, with its options and operands", () => {
  const parsed = parseCommandLine(wordsOf("--timeout 5s delete pod hello -t 0"), commands);
  assert.ok(parsed.ask === "run");
  assert.equal(parsed.command.name, "rm");
  assert.deepEqual(
    [parsed.options.has("force"), parsed.options.text("type"), parsed.options.text("time")],
    [true, "pod", "0"],
  );
  assert.deepEqual(parsed.operands, ["hello"]);
  const file = parseCommandLine(wordsOf("create -f a.yaml"), commands);
  assert.ok(file.ask === "run");
  assert.deepEqual([file.command.name, file.options.texts("file")], ["run", ["a.yaml"]]);
  assert.deepEqual(expandAlias(["ls", "-a"]), ["ps", "-a"]);
  assert.deepEqual(expandAlias(["constructor"]), ["constructor"]);
});

test("aliases are in the help of their command, and completed after their first word", () => {
  const ps = findCommand(["ps"], commands) ?? assert.fail();
  assert.ok(aliasesOf(ps).includes("container ls"));
  assert.match(formatCommand(ps, style), /^Aliases: ls, container ls,/m);
  assert.match(formatCommandList(visible, style, "pod"), /pod rm +The same as davit rm --type pod/);
  assert.equal(parseCommandLine(["container", "--help"], commands).ask, "help");
  assert.deepEqual(parseCommandLine(wordsOf("help kube play"), commands), {
    ask: "help",
    command: findCommand(["run"], commands),
  });
  const words = candidatesFor(["image", ""], commands).words;
  assert.ok(["ls", "rm", "prune", "inspect"].every((word) => words.includes(word)));
  assert.equal(candidatesFor(["delete", "pod", ""], commands).kind, "pod-or-container");
  assert.equal(candidatesFor([""], commands).words.includes("delete"), false);
});

test("a hint is one line, and names commands, options and aliases that exist", () => {
  for (const [words, text] of Object.entries(otherTools)) {
    assert.equal(
      visible.some(({ name }) => name === words),
      false,
      `"${words}" is a command: remove its hint`,
    );
    const error = errorFor(words);
    assert.ok(error instanceof CommandFailure && error.exitCode === exitCode.usage, words);
    assert.equal(error.message, `unknown command "${words}": ${text}`);
    assert.doesNotMatch(error.message, /\n/);
    assert.match(text, /"[a-z]+ |DAVIT_ENDPOINT|\/etc\/|the CRI/, `${words} names nothing`);
    for (const line of davitLines(text)) {
      const command = findCommand(line, visible);
      assert.ok(command !== undefined, `${words}: "davit ${line.join(" ")}" does not exist`);
      try {
        parseCommandLine(
          line.filter((word) => word !== ">FILE"),
          commands,
        );
      } catch (error) {
        assert.doesNotMatch((error as Error).message, /unknown|unexpected/, line.join(" "));
      }
    }
  }
});

test("options of other tools get a hint or are accepted", () => {
  assert.match(errorFor("pull --platform linux/arm64 alpine").message, /platform of the node/);
  assert.match(errorFor("inspect hello --format {{.State}}").message, /no templates; use -o json/);
  assert.match(errorFor("-n k8s.io ps").message, /^unknown option "-n": .*"davit ps -n NAMESPACE"/);
  assert.ok(!(errorFor("-n k8s.io ps") instanceof UsageError), "one line");
  assert.deepEqual(parseCommandLine(["-v"], commands), { ask: "version" });
  for (const line of ["images -a", "images --digests", "stats --no-stream", "stats --all"]) {
    assert.equal(parseCommandLine(wordsOf(line), commands).ask, "run", line);
  }
  for (const line of ["info -f json", "inspect x --format json", "inspect x -f=json"]) {
    const parsed = parseCommandLine(wordsOf(line), commands);
    assert.equal(parsed.ask === "run" && parsed.options.text("output"), "json", line);
  }
  const debug = parseCommandLine(wordsOf("--debug --timeout 3s ps"), commands);
  assert.ok(debug.ask === "run" && debug.options.has("debug") && debug.command.name === "ps");
});

test("a word that names an image or a file refers to davit run", () => {
  for (const line of ["nginx:1.25 -d", "docker.io/library/nginx", "./pod.yaml", "pod.yml"]) {
    assert.equal(
      errorFor(line).message,
      `unknown command "${wordsOf(line)[0] ?? ""}": did you mean "davit run ${line}"?`,
    );
  }
  for (const word of ["nginx", "a\u001b[1m:b", "src"]) {
    assert.doesNotMatch(errorFor(word).message, /davit run/, word);
  }
});

test("a group without a known command lists its commands and aliases", () => {
  assert.match(errorFor("config").message, /requires a command: default, check, show/);
  assert.match(errorFor("config dunp").message, /did you mean "config dump"/);
  assert.match(errorFor("image prun").message, /did you mean "image prune"/);
  assert.match(errorFor("container prune").message, /"davit rm --stopped"/);
  assert.match(errorFor("container").message, /use "davit ps" to list containers/);
  assert.match(errorFor("kube generate hello").message, /"davit inspect POD -o yaml"/);
});
