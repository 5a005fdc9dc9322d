import type { ProcessClient } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { Pump } from "../../../stdio/pump.ts";
import type { Command, CommandIo, ExecTarget } from "./command.ts";

/** A command to run for a client. */
export interface ClientRun {
  readonly target: ExecTarget;
  readonly spec: OciProcess;
  readonly client: ProcessClient;
}

/** What lies between a command and its client; to be disposed of when the command has ended. */
export interface StdioBinding extends Disposable {
  readonly io: CommandIo;
  /** The command's process; called right before its start. */
  spec(): OciProcess;
  /** Joins the client's streams to those of the command that was started. */
  join(command: Command, operation: Operation): Promise<BoundStdio>;
}

/** Disposed of, nothing is carried any more. */
export interface BoundStdio extends Disposable {
  /** What carries the command's output. */
  readonly pumps: readonly Pump[];
}
