import type { Snapshot } from "../../gen/davit/v1/checkpoints_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { Objects } from "../objects/objects.ts";
import { shortId } from "../output/figures.ts";

/** The snapshot with an id that begins with this word; undefined if there is none. */
export async function findSnapshot(word: string, objects: Objects): Promise<Snapshot | undefined> {
  const found = (await objects.snapshots()).filter(({ id }) => word !== "" && id.startsWith(word));
  const [first, second] = found;
  if (second === undefined) return first;
  const lines = found.map(
    ({ id, podNamespace, podName }) => `  ${shortId(id)}  of pod ${podNamespace}/${podName}`,
  );
  throw new CommandFailure(
    exitCode.notFound,
    `find snapshot "${word}": the id is ambiguous; use one of:\n${lines.join("\n")}`,
  );
}

/** As findSnapshot(); a CommandFailure with the exit code `notFound` if there is none. */
export async function pickSnapshot(word: string, objects: Objects): Promise<Snapshot> {
  const found = await findSnapshot(word, objects);
  if (found !== undefined) return found;
  throw new CommandFailure(
    exitCode.notFound,
    `find snapshot "${word}": not found; see "davit snapshots"`,
  );
}
