/** 300 pods with containers whose calls are cancelled, repeated and cut short: none of them waits for a disk. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { churn } from "../support/suites/churn.ts";
import { SyncTrace, withoutStrace } from "../support/sync-trace.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-disk-"));
after(() => {
  rmSync(directory, { recursive: true });
});

test("300 pods sync nothing but the database, at its checkpoints", {
  skip: withoutStrace,
}, async (t) => {
  const trace = new SyncTrace(directory);
  await churn(t, {
    pods: 300,
    parallel: 8,
    sampleEvery: 50,
    entry: trace.entry,
    onBegin: ({ paths }) => trace.begin(paths.root),
    onEnd: (pid) => {
      trace.assertOnlyCheckpoints(pid);
    },
  });
});
