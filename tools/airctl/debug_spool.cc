// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tools/airctl/debug.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
namespace fs = std::filesystem;

struct Sum {
  uint64_t files = 0;
  uint64_t bytes = 0;  // on the disk
};

Sum SumOf(const fs::path& directory) {
  Sum sum;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(directory, failed), end; !failed && at != end;
       at.increment(failed)) {
    struct stat info {};
    if (lstat(at->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    ++sum.files;
    sum.bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return sum;
}

// Of the manifest what is no secret.
void Describe(const std::string& path, wire::SpoolSession* to) {
  std::ifstream file(path + "/session.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (!json.is_object()) return;
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  to->set_workspace(text("workspace"));
  to->set_gateway(text("gateway"));
  to->set_principal(text("principal"));
  to->set_store_dir(text("store_dir"));
}

}  // namespace

std::string StateDirectory(const Invocation& asked, const GetEnv& getenv) {
  if (!asked.state_dir.empty()) return asked.state_dir;
  const std::string beside = asked.socket.substr(0, asked.socket.rfind('/'));
  if (access((beside + "/spool").c_str(), F_OK) == 0) return beside;
  if (geteuid() == 0) return "/var/lib/airstore";
  const char* state = getenv("XDG_STATE_HOME");
  if (state != nullptr && *state != '\0') return std::string(state) + "/airstore";
  const char* home = getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.local/state/airstore";
}

Outcome<std::vector<SessionDirectory>> SessionsIn(const std::string& state_dir) {
  std::vector<SessionDirectory> out;
  std::error_code failed;
  for (fs::directory_iterator at(state_dir + "/spool", failed), end; !failed && at != end;
       at.increment(failed)) {
    if (access((at->path() / "session.json").c_str(), F_OK) != 0 && errno == ENOENT) continue;
    out.push_back({at->path().string(), at->path().filename().string()});
  }
  if (failed) {
    return Failure{failed == std::errc::permission_denied ? wire::FAILURE_KIND_PERMISSION
                                                          : wire::FAILURE_KIND_NOT_FOUND,
                   state_dir + "/spool: " + failed.message(),
                   "--state-dir names the broker's state directory"};
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return out;
}

Outcome<wire::SpoolReport> LookAtSpool(const std::string& state_dir) {
  const auto sessions = SessionsIn(state_dir);
  if (!sessions.value) return sessions.failure;
  wire::SpoolReport report;
  report.set_state_dir(state_dir);
  for (const SessionDirectory& session : *sessions.value) {
    wire::SpoolSession* to = report.add_sessions();
    to->set_id(session.id);
    Describe(session.path, to);
    to->set_journal_bytes(SumOf(session.path + "/journal").bytes);
    const fs::path content = to->store_dir().empty() ? fs::path(session.path) / "content"
                                                     : fs::path(to->store_dir()) / session.id;
    const Sum files = SumOf(content);
    to->set_content_files(files.files);
    to->set_content_bytes(files.bytes);
    to->set_bytes(SumOf(session.path).bytes + (to->store_dir().empty() ? 0 : files.bytes));
    uint64_t lanes = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(session.path, ignored)) {
      if (entry.path().filename().string().rfind("lane-", 0) == 0) ++lanes;
    }
    to->set_lanes(lanes);
  }
  const Sum lost = SumOf(state_dir + "/spool/lost+found");
  report.set_lost_files(lost.files);
  report.set_lost_bytes(lost.bytes);
  return report;
}

std::optional<Failure> DebugSpool(const Invocation& asked, const Surroundings& around) {
  const auto report = LookAtSpool(StateDirectory(asked, around.getenv));
  if (!report.value) return report.failure;
  if (asked.json) {
    around.out << ToJson(*report.value) << "\n";
    return {};
  }
  Table table(
      {"SESSION", "WORKSPACE", "GATEWAY", "MOUNTS>", "JOURNAL>", "FILES>", "CONTENT>", "DISK>"});
  for (const wire::SpoolSession& session : report.value->sessions()) {
    table.Add({session.id(), session.workspace(), session.gateway(),
               std::to_string(session.lanes()), HumanBytes(session.journal_bytes()),
               std::to_string(session.content_files()), HumanBytes(session.content_bytes()),
               HumanBytes(session.bytes())});
  }
  around.out << "in " << Printable(report.value->state_dir()) << "/spool\n";
  table.Print(around.out, around.colours);
  around.out << "lost+found: " << report.value->lost_files() << " files, "
             << HumanBytes(report.value->lost_bytes()) << "\n";
  return {};
}

}  // namespace airstore::airctl
