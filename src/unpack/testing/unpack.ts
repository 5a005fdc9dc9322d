/** The unpacker alone, without the command line: `node unpack.ts FOLDER < blob`. */
import process from "node:process";
import { runUnpacker } from "../main.ts";

process.exit(await runUnpacker(process.argv.slice(2)));
