// SPDX-License-Identifier: Apache-2.0
//
// Two MCP servers of the npm registry, installed once for all tests of a build, or where
// AIRSTORE_TEST_MCP says they are.
#pragma once

#include <cstdlib>
#include <string>

namespace airstore {

inline std::string RealMcpPrefix() {
  const char* installed = getenv("AIRSTORE_TEST_MCP");
  return installed != nullptr ? installed : AIRSTORE_MCP_PREFIX;
}

// Why they cannot be had; empty: they are there.
inline std::string InstallRealMcp() {
  if (system("command -v node npm >/dev/null") != 0) return "there is no node and npm";
  if (getenv("AIRSTORE_TEST_MCP") != nullptr) return {};
  const std::string prefix = RealMcpPrefix();
  const std::string install =
      "mkdir -p '" + prefix + "' && cd '" + prefix +
      "' && exec 9>lock && flock 9 && { [ -e done ] || { timeout 100 npm install --silent "
      "--no-audit --no-fund --prefix . @modelcontextprotocol/server-everything "
      "@modelcontextprotocol/server-filesystem >/dev/null 2>&1 && touch done; }; }";
  return system(install.c_str()) == 0 ? "" : "npm cannot install the servers (no network?)";
}

inline std::string RealMcpProgram(const std::string& server) {
  return RealMcpPrefix() + "/node_modules/@modelcontextprotocol/" + server + "/dist/index.js";
}

}  // namespace airstore
