import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { commands } from "../commands/index.ts";
import { candidatesFor, completionScript, shells } from "./completion.ts";

function candidates(...words: string[]) {
  return candidatesFor(words, commands);
}

test("candidatesFor() returns commands, commands of a group, options and their values", () => {
  for (const name of ["run", "pods", "config", "help"]) {
    assert.ok(candidates("").words.includes(name), name);
  }
  assert.equal(candidates("").words.includes("demo"), false, "hidden ones are not offered");
  assert.deepEqual(candidates("config", "").words, ["default", "check", "show", "import", "dump"]);
  assert.deepEqual(candidates("config", "import", "").words, ["containerd", "crio"]);
  assert.deepEqual(candidates("images", "").words, ["check"]);
  assert.deepEqual(candidates("images", "check", "").words, []);
  assert.ok(candidates("help", "").words.includes("ps"));
  assert.ok(candidates("ps", "-").words.includes("--label"));
  assert.ok(candidates("ps", "-").words.includes("--endpoint"));
  assert.deepEqual(candidates("ps", "--output", "").words, ["table", "wide", "json", "yaml"]);
  assert.deepEqual(candidates("ps", "-o", "j").words, ["table", "wide", "json", "yaml"]);
  assert.deepEqual(candidates("pods", "--state=r").words, ["--state=ready", "--state=notready"]);
  assert.deepEqual(candidates("completion", "").words, [...shells]);
  assert.deepEqual(candidates("nonsense", ""), { words: [] });
});

test("candidatesFor() returns what the server or the shell must complete", () => {
  const kinds = [
    [["logs", ""], "container"],
    [["logs", "-f", "-n", "5", ""], "container"],
    [["logs", "-n", ""], undefined],
    [["logs", "web", ""], undefined],
    [["stop", "a", "b", ""], "pod-or-container"],
    [["exec", "web", ""], undefined],
    [["run", ""], "file-or-image"],
    [["run", "-it", "alpine", ""], "file"],
    [["run", "a.yaml", ""], "file"],
    [["run", "-n", ""], "namespace"],
    [["exec", "web", "ls", ""], "file"],
    [["exec", "web", "ls", "-"], "file"],
    [["run", "--wait", ""], "file-or-image"],
    [["ps", "--pod", ""], "pod"],
    [["--endpoint", "/x", "inspect", ""], "object"],
    [["rmi", ""], "image"],
    [["config", "check", ""], "file"],
    [["down", ""], "file-or-pod"],
  ] as const;
  for (const [words, kind] of kinds) {
    assert.equal(candidates(...words).kind, kind, words.join(" "));
  }
});

test("the script of bash is valid, and calls davit for the words at the cursor", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-completion-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const script = join(directory, "davit.bash");
  writeFileSync(script, completionScript("bash"));
  const test = `
    davit() { [ "$1" = __complete ] && printf '%s\\n' "web/main" "web" "--x=$3 $4."; }
    source ${script}
    COMP_LINE="davit logs we" COMP_POINT=13 COMP_WORDS=(davit logs we) COMP_CWORD=2
    _davit; printf '%s,' "\${COMPREPLY[@]}"
    COMP_LINE="davit logs " COMP_POINT=11; _davit; printf '%s,' "\${COMPREPLY[@]}"
    davit() { printf '%s\\n' :file web; }
    cd ${directory}; COMP_LINE="davit down " COMP_POINT=11; _davit; printf '%s,' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync("bash", ["-c", test], { encoding: "utf8" });
  assert.equal(stderr, "");
  assert.equal(stdout, "web/main,web,web/main,web,--x=logs .,davit.bash,web,");
  for (const shell of shells) assert.match(completionScript(shell), /__complete/);
});
