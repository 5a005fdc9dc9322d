import { constants } from "node:os";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { loadConfig } from "../../config/load.ts";
import type { Daemon } from "../../daemon/process/run.ts";
import { exitNow } from "../../linux/process/index.ts";
import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { configOption, findConfigFile, loadConfigOrPrintErrors } from "./config-file.ts";
import { onStopSignals } from "../stop-signals.ts";

// Defined where dist/serve.cjs runs this file (start-serve.ts). The first function only exists when there is new
// compiled code to save.
declare const keepCompiledCode: (() => Promise<void>) | undefined;
declare const discardCompiledCode: () => Promise<void>;

/** `davit serve`: runs the daemon until a signal stops it. */
export const serve: Command = {
  name: "serve",
  section: "Server",
  summary: "Run the CRI server in the foreground",
  details:
    "SIGTERM and SIGINT stop it; pods and containers keep running. A second signal stops it immediately.\n" +
    "SIGHUP makes it read its configuration again, as davit reload does. The log is written to stderr.\n" +
    "kubelet and crictl connect to the socket server.listen.",
  operands: [],
  options: {
    config: configOption,
  },
  examples: [
    { line: "davit serve", does: "Use /etc/davit/davit.toml, or the defaults" },
    { line: "davit serve --config davit.toml", does: "Use another configuration file" },
  ],
  run: async ({ options, terminal, version }) => {
    const file = findConfigFile(options.text("config"));
    const config = loadConfigOrPrintErrors(file, terminal);
    if (config === undefined) return exitCode.failed;
    if (process.geteuid?.() !== 0) {
      throw new RuntimeError(
        "permission-denied",
        "start davit: namespaces, mounts and cgroups require root; run it as root",
      );
    }
    // The users of a user namespace must reach the root of their container: the stricter umask of a
    // hardened node would close the directories above it.
    process.umask(0o022);
    // Imported here, so that other commands do not load the daemon.
    const { runDaemon } = await import("../../daemon/process/run.ts");
    const started = Promise.withResolvers<Daemon>();
    const reload = async (): Promise<void> => {
      const daemon = await started.promise;
      await daemon.reload("SIGHUP");
    };
    using signals = onStopSignals((signal) => exitNow(128 + constants.signals[signal]), {
      onReload: () => void reload(),
    });
    const daemon = await runDaemon(config, {
      version,
      // The path is determined again: the file may have been created meanwhile.
      readConfig: () => loadConfig(findConfigFile(options.text("config"))),
      ...(typeof discardCompiledCode === "undefined"
        ? {}
        : { compiledCode: { keep: keepCompiledCode, discard: discardCompiledCode } }),
    });
    started.resolve(daemon);
    const signal = await Promise.race([daemon.closed, signals.stopped]);
    await daemon.close(signal ?? undefined);
    // A thread that hangs in the kernel must not prevent the next daemon from starting.
    return exitNow(exitCode.done);
  },
};
