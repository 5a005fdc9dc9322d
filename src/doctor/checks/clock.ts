import { type Check, firstLine, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("clock", {
  fine: ["ok", ""],
  behind: ["error", "certificates of registries appear not to be valid yet, so pulls fail"],
  "went-back": ["warning", "pods and containers appear to be created in the future"],
  "not-synchronized": ["note", "times in statuses and logs drift away from those of other nodes"],
});

/** Before the first release of davit: a clock that shows this is wrong. */
const earliestMs = Date.UTC(2025, 0, 1);
const dayMs = 86_400_000;

/** Whether the clock is plausible and synchronized. */
export const clockCheck: Check = {
  group: kinds.group,
  title: "Clock",
  catalogue: kinds,
  examine: async ({ host, config }: DoctorContext) => {
    const nowMs = host.nowMs();
    const fix = "set the clock: timedatectl set-ntp true, or chronyd -q, or date -s";
    const time = new Date(nowMs).toISOString();
    if (nowMs < earliestMs) return [kinds.report("behind", `the clock shows ${time}`, fix)];
    const found: Finding[] = [];
    const written = (await host.fileInfo(`${config.root}/davit.db`))?.modifiedMs ?? 0;
    if (written > nowMs + dayMs) {
      const text = `the clock shows ${time}, but davit wrote its records at ${new Date(written).toISOString()}`;
      found.push(kinds.report("went-back", text, fix));
    }
    const program = host.findProgram("timedatectl");
    if (program !== undefined) {
      const { code, stdout } = await host.runCommand(program, ["show", "-p", "NTPSynchronized"]);
      if (code === 0 && firstLine(stdout) === "NTPSynchronized=no") {
        found.push(kinds.report("not-synchronized", "the clock is not synchronized by NTP", fix));
      }
    }
    return found.length > 0 ? found : [kinds.report("fine", time)];
  },
};
