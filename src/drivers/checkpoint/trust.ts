import { RuntimeError } from "../../base/errors.ts";
import type { CheckpointTrust } from "../../core/checkpoint/index.ts";
import type { Sealed } from "./manifest.ts";
import type { NodeSeal } from "./seal.ts";

const advice =
  'What is restored can do on this node what root can. If you trust everyone who can name a checkpoint to restore, set restore = "any" in [checkpoint]';

/**
 * Whether a manifest has this node's code, before anything of it is parsed. `permission-denied` for one that has not where
 * only such are trusted.
 */
export async function checkTrust(
  { sealed, code }: Sealed,
  trust: CheckpointTrust,
  seal: NodeSeal,
): Promise<boolean> {
  if (await seal.isOwn(sealed, code)) return true;
  if (trust === "any") return false;
  throw new RuntimeError(
    "permission-denied",
    `this node did not make it, or it was changed since: its code is not one of this node's key. ${advice}`,
  );
}

/** For a checkpoint without a manifest. */
export function refuseUnsealed(trust: CheckpointTrust): void {
  if (trust === "any") return;
  const text = `this node did not make it: it has no davit.json. ${advice}`;
  throw new RuntimeError("permission-denied", text);
}
