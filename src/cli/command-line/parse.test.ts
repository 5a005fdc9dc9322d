import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Command } from "./command.ts";
import { parseDurationMs } from "./options.ts";
import { parseCommandLine } from "./parse.ts";

function command(changes: Partial<Command>): Command {
  return {
    name: "do",
    section: "Server",
    summary: "Do it",
    operands: [],
    options: {},
    examples: [],
    run: () => Promise.resolve(0),
    ...changes,
  };
}

const exec = command({
  name: "exec",
  operands: [{ name: "CONTAINER" }, { name: "COMMAND", rest: true }],
  options: {
    tty: { short: "t", doc: "" },
    stdin: { short: "i", doc: "" },
    tail: { short: "n", value: "LINES", doc: "" },
    label: { value: "KEY=VALUE", many: true, formerName: "tag", doc: "" },
    output: { short: "o", value: "FORMAT", doc: "", complete: ["table", "json"] },
  },
  client: true,
});
const start = command({
  name: "start",
  operands: [
    {
      name: "X",
      optional: true,
      restAfter: (word, given) => word === "image" && !given.has("file"),
    },
    { name: "Y", optional: true, many: true },
  ],
  options: {
    file: { short: "f", value: "FILE", doc: "" },
    quiet: { short: "q", doc: "", alsoNamed: ["--silent", "-s"] },
  },
  refusals: { link: "use a pod", P: "name the ports" },
});
const list = command({ name: "list", operands: [{ name: "X", optional: true, many: true }] });

function parse(...argv: string[]) {
  const parsed = parseCommandLine(argv, [exec, list, start]);
  assert.ok(parsed.ask === "run", parsed.ask);
  return parsed;
}

function errorOf(...argv: string[]): string {
  try {
    parseCommandLine(argv, [exec, list, start]);
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail("was not refused");
}

describe("parseCommandLine()", () => {
  test("an option's former name still works", () => {
    const { options } = parse("exec", "--label", "a=1", "--tag", "b=2", "name", "ls");
    assert.deepEqual(options.texts("label"), ["a=1", "b=2"]);
  });

  test("a first operand can make the rest the words of another program", () => {
    const image = parse("start", "-q", "image", "-f", "x", "--", "--help");
    assert.deepEqual(image.operands, ["image", "-f", "x", "--", "--help"]);
    assert.deepEqual(parse("start", "image", "--", "-q", "--").operands, ["image", "-q", "--"]);
    const other = parse("start", "other", "-f", "x", "image", "-q");
    assert.deepEqual(other.operands, ["other", "image"]);
    assert.ok(other.options.has("quiet"));
    assert.ok(parse("start", "-f", "x", "image", "-q").options.has("quiet"));
  });

  test("options have aliases, and those of other tools are rejected with what to do instead", () => {
    for (const word of ["-q", "-s", "--quiet", "--silent"]) {
      assert.ok(parse("start", word).options.has("quiet"), word);
    }
    assert.equal(errorOf("start", "--link", "a"), 'option "--link" is not supported: use a pod');
    assert.equal(errorOf("start", "--link=a"), 'option "--link" is not supported: use a pod');
    assert.equal(errorOf("start", "-qP"), 'option "-P" is not supported: name the ports');
    assert.equal(
      errorOf("exec", "-o", "{{.Names}}", "c", "ls"),
      'option "--output" is "{{.Names}}": there are no templates; use -o json and jq',
    );
  });

  test("accepts values after a space or an equals sign, and combined letters", () => {
    for (const words of [
      ["-it", "-n", "5", "--output", "json"],
      ["-itn5", "--output=json"],
      ["-i", "-t", "-n=5", "-ojson"],
    ]) {
      const { options, operands } = parse("exec", ...words, "web", "ls");
      assert.deepEqual(
        [options.has("tty"), options.has("stdin"), options.count("tail"), options.text("output")],
        [true, true, 5, "json"],
        words.join(" "),
      );
      assert.deepEqual(operands, ["web", "ls"]);
    }
  });

  test("passes the words of another program unchanged, with and without --", () => {
    assert.deepEqual(parse("exec", "web", "ls", "-la", "--", "-h").operands, [
      "web",
      "ls",
      "-la",
      "--",
      "-h",
    ]);
    assert.deepEqual(parse("exec", "web", "--", "-x", "--tty").operands, ["web", "-x", "--tty"]);
    const { options, operands } = parse("exec", "web", "-t", "sh", "-i");
    assert.deepEqual([options.has("tty"), options.has("stdin")], [true, false]);
    assert.deepEqual(operands, ["web", "sh", "-i"]);
  });

  test("accepts options for the server before and after the command; the last one counts", () => {
    const early = parse("--endpoint", "/a", "--timeout=3s", "exec", "web", "ls");
    assert.equal(early.options.text("endpoint"), "/a");
    assert.equal(early.options.durationMs("timeout"), 3000);
    const late = parse("--endpoint=/a", "exec", "--endpoint", "/b", "web", "ls");
    assert.equal(late.options.text("endpoint"), "/b");
    assert.deepEqual(parse("--endpoint", "/a", "list").operands, [], "no client, nothing to say");
  });

  test("keeps all values of repeatable options", () => {
    const { options } = parse("exec", "--label", "a=b", "--label=c=d=e", "w", "x");
    assert.deepEqual(options.pairs("label"), { a: "b", c: "d=e" });
  });

  test("rejects missing, unknown and invalid words with a message", () => {
    assert.equal(errorOf("exec"), "CONTAINER is missing");
    assert.equal(errorOf("exec", "web"), "COMMAND is missing");
    assert.equal(errorOf("exec", "-x", "web"), 'unknown option "-x"');
    assert.equal(errorOf("exec", "--ttty", "w"), 'unknown option "--ttty", did you mean "--tty"?');
    assert.equal(errorOf("exec", "-n"), 'option "--tail" requires a value: LINES');
    assert.equal(
      errorOf("exec", "-o", "xml", "w", "c"),
      'option "--output" is "xml": must be one of table, json',
    );
    assert.deepEqual(parse("list", "a", "b").operands, ["a", "b"]);
    assert.deepEqual(parse("list").operands, []);
    assert.throws(() => parse("exec", "-n", "x", "w", "c").options.count("tail"), /"x": must be a/);
  });

  test("prints help for --help anywhere except in the words of another program", () => {
    assert.equal(parseCommandLine(["exec", "web", "-h"], [exec]).ask, "help");
    assert.equal(parseCommandLine(["exec", "--help"], [exec]).ask, "help");
    assert.deepEqual(parse("exec", "web", "ls", "--help").operands, ["web", "ls", "--help"]);
  });
});

test("parseDurationMs() parses durations", () => {
  const times: readonly (readonly [string, number | undefined])[] = [
    ["500ms", 500],
    ["2", 2000],
    ["1.5s", 1500],
    ["1h30m", 5_400_000],
    ["2d", 172_800_000],
    ["", undefined],
    ["m", undefined],
    ["5 m", undefined],
    ["-1s", undefined],
    ["1m2", undefined],
  ];
  for (const [text, ms] of times) assert.equal(parseDurationMs(text), ms, text);
});
