import type { ProcessClient } from "../../../core/container/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { Pump } from "../../../stdio/pump.ts";
import type { Command } from "./command.ts";
import type { DirectContainer } from "./direct.ts";
import type { CommandIo, ExecTarget } from "./start-command.ts";

/** A command to run for a client. */
export interface ClientRun {
  readonly target: ExecTarget;
  readonly spec: OciProcess;
  readonly client: ProcessClient;
  /** Set if davit's own program may run the command. */
  readonly direct?: DirectContainer | undefined;
}

/** The streams between a command and its client; disposed of after the command's end. */
export interface StdioBinding extends Disposable {
  readonly io: CommandIo;
  /** The OCI process; called right before the command's start. */
  spec(): OciProcess;
  /** Connects the client's streams to those of the started command. */
  bind(command: Command, operation: Operation): Promise<BoundStdio>;
}

/** Streams that are carried until they are disposed of. */
export interface BoundStdio extends Disposable {
  /** They carry the command's output. */
  readonly pumps: readonly Pump[];
}
