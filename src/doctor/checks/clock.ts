import { type Check, firstLine, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("clock", {
  fine: ["ok", ""],
  behind: ["error", "certificates of registries look as if they were not valid yet: pulls fail"],
  "went-back": ["warning", "pods and containers look as if they were made in the future"],
  "not-synchronized": ["note", "times in statuses and logs drift from those of other nodes"],
});

/** This program is younger than that. */
const earliestMs = Date.UTC(2025, 0, 1);
const dayMs = 86_400_000;

/** Whether the clock can be right. */
export const clockCheck: Check = {
  group: kinds.group,
  title: "Clock",
  catalogue: kinds,
  examine: async ({ host, config }: DoctorContext) => {
    const nowMs = host.nowMs();
    const fix = "set it: timedatectl set-ntp true, or chronyd -q, or date -s";
    const time = new Date(nowMs).toISOString();
    if (nowMs < earliestMs) return [kinds.report("behind", `it is said to be ${time}`, fix)];
    const found: Finding[] = [];
    const written = (await host.fileInfo(`${config.root}/davit.db`))?.modifiedMs ?? 0;
    if (written > nowMs + dayMs) {
      const text = `it is said to be ${time}, but davit wrote its records at ${new Date(written).toISOString()}`;
      found.push(kinds.report("went-back", text, fix));
    }
    const program = host.find("timedatectl");
    if (program !== undefined) {
      const { code, stdout } = await host.command(program, ["show", "-p", "NTPSynchronized"]);
      if (code === 0 && firstLine(stdout) === "NTPSynchronized=no") {
        found.push(kinds.report("not-synchronized", "no time server was heard yet", fix));
      }
    }
    return found.length > 0 ? found : [kinds.report("fine", time)];
  },
};
