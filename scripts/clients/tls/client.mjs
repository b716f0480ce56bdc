// Node's own client: `client.mjs URL TLSv1.2|TLSv1.3 [CA]`. Two connections, one after the other, the second of which
// resumes the session of the first. Without a CA every certificate will do. Status 0 if all is as expected.

import assert from "node:assert";
import fs from "node:fs";
import https from "node:https";

const [url, version, ca] = process.argv.slice(2);
const trust = ca ? { ca: fs.readFileSync(ca) } : { rejectUnauthorized: false };
// The agent keeps sessions, not connections.
const agent = new https.Agent({ ...trust, keepAlive: false, minVersion: version, maxVersion: version });

function ask() {
    return new Promise((resolve, reject) => {
        const request = https.get(url, { agent, timeout: 20000 }, (response) => {
            const socket = response.socket;
            const facts = { version: socket.getProtocol(), resumed: socket.isSessionReused(), status: response.statusCode };
            let bytes = 0;
            response.on("data", (piece) => { bytes += piece.length; });
            response.on("end", () => resolve({ ...facts, bytes }));
            response.on("error", reject);
        });
        request.on("timeout", () => request.destroy(new Error("20 s of silence")));
        request.on("error", reject);
    });
}

for (const resumed of [false, true]) {
    const { bytes, ...facts } = await ask();
    assert.deepStrictEqual(facts, { version, resumed, status: 200 });
    assert.notStrictEqual(bytes, 0);
}
