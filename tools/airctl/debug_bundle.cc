// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "tools/airctl/client.h"
#include "tools/airctl/debug.h"
#include "tools/airctl/doctor.h"
#include "tools/airctl/doctor_broker.h"
#include "tools/airctl/doctor_host.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{5};

// Nothing that we write has a token in it; what an administrator writes may.
std::string WithoutSecrets(const std::string& text) {
  static const std::regex secret(
      R"(((token|secret|password|bearer|authorization)["']?\s*[:=]?\s*["']?)[^\s"',}]{8,})",
      std::regex::icase);
  return std::regex_replace(text, secret, "$1(left out)");
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a program prints; empty where there is none.
std::string OutputOf(const char* command) {
  FILE* pipe = popen(command, "re");
  if (pipe == nullptr) return "";
  std::string out;
  std::array<char, 4096> piece{};
  for (size_t got = 0; (got = fread(piece.data(), 1, piece.size(), pipe)) > 0;) {
    out.append(piece.data(), got);
  }
  pclose(pipe);
  return out;
}

Outcome<wire::StatusResponse> Status(const std::string& socket) {
  Progress progress("asking the broker", false);
  auto client = BrokerClient::Connect(socket);
  if (!client.value) return client.failure;
  client.value->SetPatience(kPatience);
  wire::Request request;
  request.mutable_status();
  auto answer = client.value->Call(request, progress);
  if (!answer.value) return answer.failure;
  for (wire::MountInfo& mount : *answer.value->mutable_status()->mutable_mounts()) {
    mount.mutable_nfs()->clear_path();  // who knows it may mount
    mount.mutable_nfs()->clear_mount_command();
  }
  return std::move(*answer.value->mutable_status());
}

class Folder {
 public:
  Folder() {
    char pattern[] = "/tmp/airctl-bundle-XXXXXX";
    if (mkdtemp(pattern) != nullptr) path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  void Put(const std::string& name, const std::string& text) const {
    if (!text.empty()) std::ofstream(path_ + "/" + name) << WithoutSecrets(text);
  }

 private:
  std::string path_;
};

bool Pack(const std::string& folder, const std::string& archive) {
  const pid_t child = fork();
  if (child == 0) {
    umask(077);
    execlp("tar", "tar", "-czf", archive.c_str(), "-C", folder.c_str(), ".", nullptr);
    _exit(127);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

}  // namespace

std::optional<Failure> DebugBundle(const Invocation& asked, const Surroundings& around) {
  const Folder folder;
  const std::string state_dir = StateDirectory(asked, around.getenv);
  Diagnosis found = Diagnose({}, geteuid() == 0);
  const auto add = [&](std::vector<Finding> more) {
    for (Finding& finding : more) found.findings.push_back(std::move(finding));
  };
  add(LookAtHost({}));
  if (const auto status = Status(asked.socket); status.value) {
    folder.Put("status.json", ToJson(*status.value));
    add(LookAtBroker(*status.value));
  } else {
    folder.Put("status.txt", status.failure.message + "\n");
    add({BrokerMissing(asked.socket, status.failure)});
  }
  folder.Put("doctor.json", ToJson(ReportOf(found)));
  if (const auto spool = LookAtSpool(state_dir); spool.value) {
    folder.Put("spool.json", ToJson(*spool.value));
  }
  if (const auto journals = LookAtJournals(state_dir); journals.value) {
    folder.Put("journal.json", ToJson(*journals.value));
  }
  if (const auto lanes = LookAtLanes(state_dir); lanes.value) {
    folder.Put("shm.json", ToJson(*lanes.value));
  }
  utsname name{};
  uname(&name);
  folder.Put("versions.txt", std::string("airctl " AIRSTORE_VERSION "\nLinux ") + name.release +
                                 " " + name.machine + "\n" + TextOf("/etc/os-release"));
  folder.Put("airstored.toml", TextOf("/etc/airstore/airstored.toml"));
  folder.Put("mountinfo.txt", TextOf("/proc/self/mountinfo"));
  folder.Put("log.txt", OutputOf("journalctl -u airstored -n 5000 --no-pager 2>/dev/null"));
  const std::string archive = asked.name.empty() ? "airstore-bundle.tar.gz" : asked.name;
  if (!Pack(folder.path(), archive)) {
    return Failure{wire::FAILURE_KIND_HOST, "tar could not write " + archive,
                   "name another file: airctl debug bundle FILE"};
  }
  if (asked.json) {
    around.out << "{}\n";
  } else {
    around.out << "wrote " << Printable(archive)
               << ": names of workspaces, mount points and hosts, no tokens, no content\n";
  }
  return {};
}

}  // namespace airstore::airctl
