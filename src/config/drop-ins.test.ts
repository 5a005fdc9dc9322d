import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { formatConfig } from "./format.ts";
import { ConfigError, formatOrigin, loadConfig, loadWithOrigins, parseConfig } from "./load.ts";
import { mergeTables } from "./merge.ts";

/** A configuration with drop-ins by their names; returns its path. */
function files(
  t: TestContext,
  main: string | undefined,
  dropIns: Readonly<Record<string, string>>,
): string {
  const directory = mkdtempSync(join(tmpdir(), "davit-config-"));
  t.after(() => {
    rmSync(directory, { recursive: true });
  });
  const path = join(directory, "davit.toml");
  if (main !== undefined) writeFileSync(path, main);
  mkdirSync(`${path}.d`);
  for (const [name, text] of Object.entries(dropIns)) writeFileSync(join(`${path}.d`, name), text);
  return path;
}

function errorsOf(path: string): readonly string[] {
  try {
    loadConfig(path);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.lines.map((line) => line.replace(`${path}.d/`, "d/").replace(path, "main"));
  }
}

describe("drop-ins", () => {
  test("override the file key by key, the last one in lexical order first", (t) => {
    const path = files(
      t,
      '[log]\nlevel = "warn"\n[images]\npinned = ["a", "b"]\nmax_layers = 7\n[cni]\nconf_dir = "/main"\n',
      {
        "20-b.toml": '[log]\nlevel = "error"\n[runtime.handlers.kata]\npod_annotations = ["x"]\n',
        "10-a.toml":
          '[log]\nlevel = "debug"\n[images]\npinned = ["c"]\n[runtime.handlers.kata]\npath = "kata"\n',
        ".hidden.toml": "garbage",
        "30-no.conf": "garbage",
      },
    );
    const { config, files: read, originOf } = loadWithOrigins(path);
    assert.equal(config.log.level, "error");
    assert.deepEqual(config.images.pinned, ["c"], "a list replaces a list");
    assert.equal(config.images.maxLayers, 7);
    assert.equal(config.runtime.handlers["kata"]?.path, "kata");
    assert.deepEqual(config.runtime.handlers["kata"].podAnnotations, ["x"]);
    assert.deepEqual(read, [path, `${path}.d/10-a.toml`, `${path}.d/20-b.toml`]);

    const origin = (...keys: readonly string[]): string | undefined => {
      const found = originOf(keys);
      return found && formatOrigin(found).replace(path, "");
    };
    assert.equal(origin("log", "level"), ".d/20-b.toml:2");
    assert.equal(origin("images", "pinned"), ".d/10-a.toml:4");
    assert.equal(origin("cni", "conf_dir"), ":7");
    assert.equal(origin("runtime", "handlers", "kata", "path"), ".d/10-a.toml:6");
    assert.equal(origin("cni", "bin_dirs"), undefined);
    const shown = formatConfig(config, (keys) => origin(...keys) ?? "default");
    assert.match(shown, /^level = "error" {2}# \.d\/20-b\.toml:2$/m);
    assert.match(shown, /^max_parallel = 8 {2}# default$/m);
    assert.deepEqual(parseConfig(shown, "shown"), config);
  });

  test("errors of all files are reported at once, where each key stands", (t) => {
    const path = files(t, "[cni]\nmax_parallel = 0\nconf = 1\n", {
      "1.toml": '\n[log]\nlevel = "loud"\n',
      "2.toml": '[images]\ngc_high_percent = 70\ngc_low_percent = 100\n[log]\nformat = "x"\n',
    });
    assert.deepEqual(
      errorsOf(path).map((line) => /^\S+: "?[a-z_.]+ ?(key "[a-z.]+")?/.exec(line)?.[0]),
      [
        'main:2: "cni.max_parallel',
        'main:3: unknown key "cni.conf"',
        'd/1.toml:3: "log.level',
        'd/2.toml:3: "images.gc_low_percent',
        'd/2.toml:5: unknown key "log.format"',
      ],
    );
    const broken = files(t, "[cni\n", { "1.toml": "x =\n", "2.toml": "" });
    assert.deepEqual(
      errorsOf(broken).map((line) => /^\S+: not valid TOML/.exec(line)?.[0]),
      ["main:1: not valid TOML", "d/1.toml:1: not valid TOML"],
    );
  });

  test("the file may be absent where there is a directory for drop-ins, and else must exist", (t) => {
    const path = files(t, undefined, { "a.toml": '[log]\nlevel = "warn"\n' });
    assert.equal(loadConfig(path).log.level, "warn");
    assert.throws(() => loadConfig(`${path}.other`), /no such file/);
  });

  test("only regular files count, and what cannot be read is an error", (t) => {
    const path = files(t, "", { "ok.toml": "", "big.toml": "#".repeat(10 * 1024 * 1024) });
    mkdirSync(`${path}.d/directory.toml`);
    symlinkSync("/dev/zero", `${path}.d/zero.toml`);
    symlinkSync("ok.toml", `${path}.d/link.toml`);
    symlinkSync("/nowhere", `${path}.d/dangling.toml`);
    symlinkSync("loop.toml", `${path}.d/loop.toml`);
    const [big, dangling, loop, ...others] = errorsOf(path);
    assert.match(big ?? "", /^d\/big\.toml: cannot be read: .*1 MiB/);
    assert.match(dangling ?? "", /^d\/dangling\.toml: cannot be read: it is a link to a file/);
    assert.match(loop ?? "", /^d\/loop\.toml: cannot be read: ELOOP/);
    assert.deepEqual(others, []);
    for (const name of ["big", "dangling", "loop"]) rmSync(`${path}.d/${name}.toml`);
    const { files: read } = loadWithOrigins(path);
    assert.deepEqual(
      read.map((file) => file.replace(path, "")),
      ["", ".d/link.toml", ".d/ok.toml"],
    );
    rmSync(`${path}.d`, { recursive: true });
    writeFileSync(`${path}.d`, "");
    assert.match(errorsOf(path)[0] ?? "", /\.d: cannot be read: it must be a directory/);
  });

  test("a file without an end is not read forever", () => {
    assert.throws(() => loadConfig("/dev/zero"), /larger than 1048576 bytes/);
  });
});

test("mergeTables() merges at any depth, and a table replaces what is none", () => {
  const merged = mergeTables([
    { a: { b: { c: 1, d: 2 } }, list: [1, 2], odd: { x: 1 }, even: 1 },
    { a: { b: { d: 3, e: 4 } }, list: [3], odd: 2, even: { y: 1 } },
  ]);
  assert.deepEqual(merged, {
    a: { b: { c: 1, d: 3, e: 4 } },
    list: [3],
    odd: 2,
    even: { y: 1 },
  });
  const hostile = JSON.parse('{"__proto__": {"polluted": true}}') as Record<string, unknown>;
  mergeTables([{}, hostile, hostile]);
  assert.equal("polluted" in {}, false);
});
