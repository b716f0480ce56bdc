"""Sums up what testssl.sh and sslyze found: `audit.py TESTSSL.json SSLYZE.json`. Status 1 if something was found that is
the server's fault: what they say of the certificate is that of whoever made it, and is told apart."""

import json
import sys

# Nobody's fault: of the machine that testssl.sh runs on.
NO_FAULT = {"engine_problem": "of the audit's machine"}
BAD = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}

faults = 0


def tell(tool, level, what, finding):
    global faults
    faults += level == "FAULT"
    print(f"{level:5} {tool}: {what}: {finding}")


def testssl(findings):
    for finding in findings:
        name, severity, text = finding["id"], finding["severity"], finding["finding"]
        if name.startswith("cert_"):
            tell("testssl.sh", "cert", name, f"{severity}, {text}")
        elif name in NO_FAULT:
            tell("testssl.sh", "note", name, f"{severity}, {text} ({NO_FAULT[name]})")
        elif severity in BAD:
            tell("testssl.sh", "FAULT", name, f"{severity}, {text}")
        else:
            tell("testssl.sh", "note", name, f"{severity}, {text}")


def sslyze(results):
    (server,) = results["server_scan_results"]
    if server["scan_status"] != "COMPLETED":
        tell("sslyze", "FAULT", "the scan", server["scan_status"])
        return
    checks = server["scan_result"]
    for name, check in checks.items():
        # A scan that fails is one that the server has broken.
        if check["status"] == "ERROR":
            tell("sslyze", "FAULT", name, check["error_reason"])
    results = {name: check["result"] for name, check in checks.items() if check["result"]}
    for name, result in results.items():
        if name.endswith("_cipher_suites"):
            suites = [accepted["cipher_suite"]["name"] for accepted in result["accepted_cipher_suites"]]
            old = name not in ("tls_1_2_cipher_suites", "tls_1_3_cipher_suites")
            level = "FAULT" if suites and old else "ok"
            version = name.removesuffix("_cipher_suites")
            tell("sslyze", level, version, ", ".join(suites) or "refused")

    def must(name, field, wanted):
        if name in results:
            value = results[name][field]
            tell("sslyze", "ok" if value == wanted else "FAULT", name, f"{field} is {value}")

    must("heartbleed", "is_vulnerable_to_heartbleed", False)
    must("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", False)
    must("tls_compression", "supports_compression", False)
    must("tls_1_3_early_data", "supports_early_data", False)
    must("tls_extended_master_secret", "supports_ems_extension", True)
    must("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", False)
    must("session_renegotiation", "supports_secure_renegotiation", True)
    if robot := results.get("robot"):
        safe = robot["robot_result"].startswith("NOT_VULNERABLE")
        tell("sslyze", "ok" if safe else "FAULT", "robot", robot["robot_result"])
    if curves := results.get("elliptic_curves"):
        names = ", ".join(curve["name"] for curve in curves["supported_curves"] or [])
        tell("sslyze", "ok", "elliptic_curves", names)
    if resumption := results.get("session_resumption"):
        for way in ("session_id_resumption_result", "tls_ticket_resumption_result"):
            # It takes a session for resumed only if the ticket stays the same; servers may send a new one.
            tell("sslyze", "ok", way.removesuffix("_result"), resumption[way])


with open(sys.argv[1], encoding="utf-8") as file:
    testssl(json.load(file))
with open(sys.argv[2], encoding="utf-8") as file:
    sslyze(json.load(file))
print(f"{faults} faults")
sys.exit(faults > 0)
