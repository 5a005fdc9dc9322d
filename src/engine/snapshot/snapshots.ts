import { RuntimeError } from "../../base/errors.ts";
import { PrefixIndex } from "../../base/prefix-index.ts";
import type { Snapshot } from "../../core/checkpoint/index.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import type { SnapshotContext } from "./context.ts";

// How long the import of a snapshot may take.
const importMs = 3_600_000;

/** All snapshots of the node, the newest first. */
export async function listSnapshots({
  snapshots,
}: Pick<SnapshotContext, "snapshots">): Promise<readonly Snapshot[]> {
  return await snapshots.list();
}

/**
 * Removes a snapshot. The pods that were restored from it run on; `failed-precondition` while a container of one
 * was created and not started, since its start needs the snapshot. Not an error for an unknown one.
 */
export async function removeSnapshot(
  context: Pick<SnapshotContext, "snapshots" | "containers">,
  text: string,
): Promise<void> {
  const found = await find(context, text);
  if (found === undefined) return;
  const below = `${found.directory}/`;
  for (const { id, state, restore } of context.containers.all()) {
    const isToStart = state.name === "creating" || state.name === "created";
    if (!isToStart || restore?.directory.startsWith(below) !== true) continue;
    throw new RuntimeError(
      "failed-precondition",
      `remove snapshot "${found.id}": container "${id}" is to start from it; start or remove that container first`,
    );
  }
  await context.snapshots.remove(found.id);
}

/** The bytes of an archive of a snapshot. `not-found` for an unknown one. */
export async function* exportSnapshot(
  context: Pick<SnapshotContext, "snapshots">,
  text: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const found = await find(context, text);
  if (found === undefined) {
    throw new RuntimeError(
      "not-found",
      `export snapshot "${text}": there is none with this id; see "davit snapshots"`,
    );
  }
  yield* context.snapshots.export(found.id, signal);
}

/**
 * Keeps a snapshot that was exported. `permission-denied` where the configuration does not trust it; other errors as
 * Snapshots.import.
 */
export async function importSnapshot(
  context: SnapshotContext,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<Snapshot> {
  const { trust } = context;
  if (trust === "off") {
    throw new RuntimeError(
      "permission-denied",
      'import a snapshot: this node restores none (checkpoint.restore = "off")',
    );
  }
  const { log } = context;
  const onStuck = (what: string, error: unknown): void => {
    log.error(`a failed import was not removed: cannot ${what}`, { error });
  };
  return await context.operations.run(
    { name: "import-snapshot", subject: "archive", timeoutMs: importMs, log },
    async (operation) => {
      using _caller = operation.follow(signal);
      return await buildOrUndo(operation, onStuck, async (undo) => {
        const snapshot = await context.snapshots.import(chunks, trust, operation);
        undo.defer("remove the snapshot", () => context.snapshots.remove(snapshot.id));
        await operation.enter("answer");
        return snapshot;
      });
    },
  );
}

async function find(
  { snapshots }: Pick<SnapshotContext, "snapshots">,
  text: string,
): Promise<Snapshot | undefined> {
  const all = await snapshots.list();
  const index = new PrefixIndex("snapshot");
  for (const { id } of all) index.add(id);
  const id = index.find(text);
  return all.find((each) => each.id === id);
}
