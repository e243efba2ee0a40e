// Runs Perfetto's trace processor, as its user interface ships it for browsers, under node:
//   node trace_processor.js DIRECTORY_OF_THE_INTERFACE REQUESTS ANSWERS
// The two files hold TraceProcessorRpcStream messages.
const fs = require('fs');
const path = require('path');
const vm = require('vm');
const [directory, requests, answers] = process.argv.slice(2);

const contents = (name) => fs.readFileSync(path.join(directory, path.basename(String(name))));
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = function () {};
globalThis.location = {href: 'http://local/engine_bundle.js'};
globalThis.fetch = async (name) => new Response(contents(name), {headers: {'Content-Type': 'application/wasm'}});
globalThis.XMLHttpRequest = class {
  open(method, name) { this.name = name; }
  send() { this.response = contents(this.name); }
};
const {exit} = process;
globalThis.process = undefined;  // the program would take itself for one that was built for node
vm.runInThisContext(contents('engine_bundle.js').toString());

const replies = [];
const port = {postMessage: (data) => replies.push(Buffer.from(data))};
globalThis.onmessage({data: port});
let tries = 0;
function send() {  // until the program is there
  try {
    port.onmessage({data: new Uint8Array(fs.readFileSync(requests))});
  } catch (error) {
    if (replies.length || ++tries > 100) throw error;
    setTimeout(send, 100);
    return;
  }
  fs.writeFileSync(answers, Buffer.concat(replies));
  exit(0);
}
setTimeout(send, 1000);
