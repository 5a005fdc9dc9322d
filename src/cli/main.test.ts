import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { formatDefaultConfig } from "../config/format.ts";
import { optionsOf, shownOptions } from "./command-line/command.ts";
import { formatCommand } from "./command-line/help.ts";
import { commands } from "./commands/index.ts";
import { main } from "./main.ts";
import { recordedTerminal } from "./output/testing/recorded-terminal.ts";

async function davit(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const terminal = recordedTerminal();
  const code = await main(argv, terminal);
  return { code, ...terminal.written };
}

async function withFile(text: string, use: (file: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "davit-cli-"));
  try {
    const file = join(directory, "davit.toml");
    writeFileSync(file, text);
    await use(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("main() lists all commands except hidden ones", async () => {
  for (const argv of [[], ["help"], ["--help"], ["-h"]]) {
    const { code, out, err } = await davit(...argv);
    assert.equal(code, 0);
    assert.equal(err, "");
    for (const name of ["serve", "config default", "config check", "config show", "version"]) {
      assert.match(out, new RegExp(`^  ${name} `, "m"));
    }
    assert.doesNotMatch(out, /^ {2}demo/m);
  }
});

test("main() prints the help of each command: usage, options, at least one example", async () => {
  for (const command of commands) {
    const { name, examples } = command;
    const { code, out } = await davit("help", ...name.split(" "));
    assert.equal(code, 0);
    assert.deepEqual(await davit(...name.split(" "), "--help"), { code, out, err: "" });
    assert.ok(examples.length > 0, name);
    assert.match(out, new RegExp(`Usage: davit ${name} `));
    for (const [option] of shownOptions(optionsOf(command)))
      assert.ok(out.includes(`--${option}`), option);
    for (const example of examples) assert.ok(out.includes(example.line));
    for (const line of out.split("\n")) assert.ok(line.length <= 110, line);
  }
  assert.match((await davit("config", "--help")).out, /Usage: davit config COMMAND/);
  assert.match((await davit("help", "config")).out, /config check/);
});

test("formatCommand() fills the lines of a narrow terminal", () => {
  const { style } = recordedTerminal();
  for (const command of commands.filter(({ details }) => details !== undefined)) {
    const [, details = ""] = formatCommand(command, style, 50).split("\n\n");
    const lines = details.split("\n");
    for (const [at, line] of lines.entries()) {
      const [next = ""] = lines[at + 1]?.split(" ") ?? [];
      assert.ok(line.length <= 50 || !line.includes(" "), line);
      assert.ok(at + 1 === lines.length || `${line} ${next}`.length > 50, line);
    }
  }
});

test("main() suggests what an invalid command line probably meant, with exit code 2", async () => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["sevre"], 'unknown command "sevre", did you mean "serve"?\nSee: davit help'],
    [["quux"], 'unknown command "quux"\nSee: davit help'],
    [["podz"], 'unknown command "podz", did you mean "pods"?\nSee: davit help'],
    [["pod"], 'unknown command "pod": use "davit pods" to list pods'],
    [["ps", "--pods", "x"], 'unknown option "--pods", did you mean "--pod"?\nSee: davit help ps'],
    [
      ["pods", "--state=up"],
      'option "--state" is "up": must be one of ready, notready\nSee: davit help pods',
    ],
    [["help", "confg"], 'unknown command "confg", did you mean "config"?\nSee: davit help'],
    [
      ["config", "shwo"],
      'unknown command "config shwo", did you mean "config show"?\nSee: davit help',
    ],
    [
      ["config"],
      '"davit config" requires a command: default, check, show, import containerd, import crio, dump\nSee: davit help',
    ],
    [
      ["--serve"],
      'unknown option "--serve": options of a command must follow the command\nSee: davit help',
    ],
    [
      ["serve", "--confg", "x"],
      'unknown option "--confg", did you mean "--config"?\nSee: davit help serve',
    ],
    [["serve", "--config"], 'option "--config" requires a value: FILE\nSee: davit help serve'],
    [["serve", "--config="], 'option "--config" requires a value: FILE\nSee: davit help serve'],
    [["serve", "x"], 'unexpected operand "x"\nSee: davit help serve'],
    [["demo"], "FILE is missing\nSee: davit help demo"],
    [["demo", "--once=1", "x"], 'option "--once" does not take a value\nSee: davit help demo'],
    [["version", "--x"], 'unknown option "--x"\nSee: davit help version'],
  ];
  for (const [argv, expected] of cases) {
    assert.deepEqual(await davit(...argv), { code: 2, out: "", err: `davit: ${expected}\n` });
  }
});

test("main() prints its version in one line without a server", async () => {
  const { code, out } = await davit("--version");
  assert.equal(code, 0);
  assert.match(out, /^davit \S+ \(Node\.js v\d+\.\d+\.\d+, linux \w+\)\n$/);
});

test("config default prints the file of formatDefaultConfig()", async () => {
  assert.deepEqual(await davit("config", "default"), {
    code: 0,
    out: formatDefaultConfig(),
    err: "",
  });
});

test("config check prints each error in a line, with file and line", async () => {
  await withFile('[cni]\nconfdir = "/x"\nmax_parallel = 0\n', async (file) => {
    assert.deepEqual(await davit("config", "check", file), {
      code: 1,
      out: "",
      err:
        `${file}:2: unknown key "cni.confdir", did you mean "cni.conf_dir"?\n` +
        `${file}:3: "cni.max_parallel" is 0: must be an integer from 1 to 256\n`,
    });
  });
  await withFile("", async (file) => {
    assert.deepEqual(await davit("config", "check", file), {
      code: 0,
      out: `${file}: ok\n`,
      err: "",
    });
  });
});

test("config show prints the effective configuration", async () => {
  await withFile('log.level = "warn"\n', async (file) => {
    const { code, out } = await davit("config", "show", file);
    assert.equal(code, 0);
    assert.ok(out.includes(`level = "warn"  # ${file}:1\n`), out);
    assert.match(out, /^root = "\/var\/lib\/davit" {2}# default; restart$/m);
  });
});

test("serve and config show print each error in a line, as config check does", async () => {
  const toml = 'roots = 1\n[server]\ngroup = "no:group"\n[log]\nlevel = "\u00e9\\u001b[2J"\n';
  await withFile(toml, async (file) => {
    const found = await davit("config", "check", file);
    assert.equal(found.code, 1);
    assert.equal(found.err.split("\n").length, 4);
    assert.match(found.err, /:1: unknown key "roots", did you mean "root"\?\n/);
    assert.deepEqual(await davit("serve", "--config", file), found);
    assert.deepEqual(await davit("config", "show", file), found);
  });
  await withFile('[server]\ngroup = "no-such-group"\n', async (file) => {
    const said = `${file}:2: "server.group" is "no-such-group": must be a group of /etc/group, or a gid\n`;
    assert.equal((await davit("serve", "--config", file)).err, said);
    assert.equal((await davit("config", "check", file)).err, said);
  });
});

test("serve fails with one line when its configuration does not exist", async () => {
  await withFile("", async (file) => {
    assert.deepEqual(await davit("serve", `--config=${file}.not`), {
      code: 1,
      out: "",
      err: `davit: read configuration "${file}.not": no such file; "davit config default" prints one to start from\n`,
    });
  });
});

test("main() removes control characters from error messages", async () => {
  const { err } = await davit("no\u001b[2Jcommand\r");
  assert.match(err, /no\?\[2Jcommand\?/);
  assert.doesNotMatch(err, /[\u001b\r]/);
});
