// Drives improv-wifi-serial-sdk against a board's console: node improv_client.mjs FOLDER HOST PORT STEPS, and prints
// what came of each step as JSON. FOLDER holds the SDK's files, STEPS is [["scan"], ["provision", name, password], ...].
import net from "node:net";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [folder, host, port, steps] = process.argv.slice(2);
const { ImprovSerial } = await import(pathToFileURL(`${folder}/serial.js`));
const socket = net.connect(Number(port), host);
await new Promise((resolve) => socket.once("connect", resolve));
const quiet = { log() {}, debug() {}, error(...texts) { console.error(...texts); } };
const board = new ImprovSerial({ readable: Readable.toWeb(socket), writable: Writable.toWeb(socket) }, quiet);
const outcomes = [await board.initialize(20000)];
for (const [step, ...values] of JSON.parse(steps)) {
  try {
    outcomes.push((await board[step](...values, 60000)) ?? board.state);
  } catch (error) {
    outcomes.push(String(error));
  }
}
console.log(JSON.stringify(outcomes));
process.exit(0);
