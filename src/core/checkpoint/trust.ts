/** Which checkpoints are restored: those that this node has made, or any. */
export type CheckpointTrust = "own" | "any";
