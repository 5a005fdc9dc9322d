import { kindOf, messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { Container, ContainerUser } from "../../core/container/index.ts";
import { podUsers } from "../../core/sandbox/index.ts";
import type { ClientStreams, ExecEnd, ExecRequest } from "../../core/streaming/index.ts";
import {
  checkCommand,
  type ContainerContext,
  execSubject,
  runtimeOf,
  userOfCommand,
} from "../container/index.ts";
import { runInContainer } from "./run-in-container.ts";

/**
 * Runs a command in a running container with a client at its streams; see StreamTargets.exec. `failed-precondition` for a
 * container that is not running, `invalid-argument` for a user, a directory or a command that cannot be used.
 */
export function execInContainer(
  context: ContainerContext,
  request: ExecRequest,
  streams: ClientStreams,
  signal: AbortSignal,
): Promise<ExecEnd> {
  const { command, terminal, env } = request;
  return runInContainer(
    context,
    { name: "exec", containerId: request.containerId, signal },
    async (container, operation) => {
      checkCommand(container.id, command);
      const cwd = checkedDirectory(container.id, request.workingDir);
      context.prewarmCgroupMigration();
      await operation.enter("build-spec");
      const user = await commandUser(context, container, request.user);
      const subject = execSubject(context, container);
      const spec = await context.specs.process(subject, {
        args: command,
        terminal,
        ...(env && { env }),
        ...(user && { user }),
        ...(cwd !== undefined && { cwd }),
      });
      const client = { streams, terminal };
      const running = runtimeOf(context, container).exec(container.id, spec, client, operation);
      const end = await (cwd === undefined
        ? running
        : explainDirectory(container.id, cwd, running));
      await operation.enter("answer");
      return end;
    },
  );
}

function checkedDirectory(id: string, directory: string | undefined): string | undefined {
  if (directory === undefined || directory.startsWith("/")) return directory;
  return refuse(id, `the working directory ${quote(directory)} is not an absolute path`);
}

/** NOTE(crun, runc): that they cannot enter the directory is a text of theirs, which begins with "chdir to". */
async function explainDirectory<T>(id: string, directory: string, run: Promise<T>): Promise<T> {
  try {
    return await run;
  } catch (cause) {
    if (kindOf(cause) !== "unknown" || !/\bchdir to\b/.test(messageOf(cause))) throw cause;
    const why = "it does not exist in the container, or its user may not enter it";
    return refuse(id, `the working directory ${quote(directory)} cannot be entered: ${why}`, cause);
  }
}

/** The user that a request names, in the container's root as it is now; undefined for the container's own. */
async function commandUser(
  context: Pick<ContainerContext, "rootFiles" | "roots" | "sandboxes">,
  container: Container,
  text: string | undefined,
): Promise<ContainerUser | undefined> {
  if (text === undefined) return undefined;
  const { id } = container;
  if (!/^[^:]+(:[^:]+)?$/.test(text)) {
    refuse(id, `the user must be USER, UID, USER:GROUP or UID:GID, got ${quote(text)}`);
  }
  const user = await resolved(context, container, text);
  const mapped = podUsers(context.sandboxes.get(container.sandboxId).config);
  if (mapped === undefined) return user;
  const { uids, gids } = mapped;
  const groups = [user.gid, ...user.supplementalGroups];
  if (user.uid < uids.length && groups.every((gid) => gid < gids.length)) return user;
  const ids = `uids below ${uids.length} and gids below ${gids.length}`;
  return refuse(id, `its pod's user namespace has ${ids}; user ${quote(text)} has others`);
}

async function resolved(
  { rootFiles, roots }: Pick<ContainerContext, "rootFiles" | "roots">,
  { id, config }: Container,
  text: string,
): Promise<ContainerUser> {
  try {
    return await rootFiles.resolveUser(roots.pathOf(id), userOfCommand(config, text));
  } catch (cause) {
    throw wrap(`exec in container "${id}"`, cause);
  }
}

function refuse(id: string, why: string, cause?: unknown): never {
  const text = `exec in container "${id}": ${why}`;
  throw new RuntimeError("invalid-argument", text, cause === undefined ? {} : { cause });
}
