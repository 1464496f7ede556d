// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "shm/base/fd.h"
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
  // Of an export: who knows it may mount.
  static const std::regex path("/airstore-[0-9a-f]{16,}");
  return std::regex_replace(std::regex_replace(text, secret, "$1(left out)"), path,
                            "/airstore-(left out)");
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
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
  void Put(const std::string& name, const std::string& text, const std::string& from = "") {
    if (text.empty()) return Miss(name, "nothing was found" + (from.empty() ? "" : " in " + from));
    std::ofstream file(path_ + "/" + name);
    file << WithoutSecrets(text);
    if (!file.flush()) Miss(name, "it could not be written");
  }
  void Miss(const std::string& name, const std::string& why) {
    missing_ += name + ": " + why + "\n";
  }
  const std::string& missing() const { return missing_; }

 private:
  std::string path_;
  std::string missing_;
};

// Beside it, and then in its place: what a link of that name leads to stays as it is, and nobody
// else may read it.
bool Pack(const std::string& folder, const std::string& archive) {
  std::string beside = archive + ".XXXXXX";
  const UniqueFd file(mkostemp(beside.data(), O_CLOEXEC));
  if (!file) return false;
  const pid_t child = fork();
  if (child == 0) {
    dup2(file.get(), STDOUT_FILENO);
    execlp("tar", "tar", "-czf", "-", "-C", folder.c_str(), ".", nullptr);
    _exit(127);
  }
  int status = 0;
  const bool packed = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
                      WEXITSTATUS(status) == 0 && fsync(file.get()) == 0 &&
                      rename(beside.c_str(), archive.c_str()) == 0;
  if (!packed) unlink(beside.c_str());
  return packed;
}

}  // namespace

std::optional<Failure> DebugBundle(const Invocation& asked, const Surroundings& around) {
  Folder folder;
  if (folder.path().empty()) {
    return Failure{wire::FAILURE_KIND_HOST, "no directory can be made in /tmp", "make room there"};
  }
  const std::string state_dir = StateDirectory(asked, around.getenv);
  Diagnosis found = Diagnose({}, geteuid() == 0);
  const auto add = [&](std::vector<Finding> more) {
    for (Finding& finding : more) found.findings.push_back(std::move(finding));
  };
  const std::string configured = ConfigurationFile(around.getenv);
  add(LookAtHost({.configuration = configured}));
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
  } else {
    folder.Miss("spool.json", spool.failure.message);
  }
  if (const auto journals = LookAtJournals(state_dir); journals.value) {
    folder.Put("journal.json", ToJson(*journals.value));
  } else {
    folder.Miss("journal.json", journals.failure.message);
  }
  if (const auto lanes = LookAtLanes(state_dir); lanes.value) {
    folder.Put("shm.json", ToJson(*lanes.value));
  } else {
    folder.Miss("shm.json", lanes.failure.message);
  }
  utsname name{};
  uname(&name);
  folder.Put("versions.txt", std::string("airctl " AIRSTORE_VERSION "\nLinux ") + name.release +
                                 " " + name.machine + "\n" + TextOf("/etc/os-release"));
  const std::string configuration = TextOf(configured);
  folder.Put("airstored.toml", configuration, configured);
  folder.Put("mountinfo.txt", TextOf("/proc/self/mountinfo"));
  const LogEnd log = EndOfLog(configuration);
  folder.Put("log.txt", log.text, log.from);
  if (!folder.missing().empty()) folder.Put("missing.txt", folder.missing());
  const std::string archive = asked.name.empty() ? "airstore-bundle.tar.gz" : asked.name;
  if (!Pack(folder.path(), archive)) {
    return Failure{wire::FAILURE_KIND_HOST, "tar could not write " + archive,
                   "name another file: airctl debug bundle FILE"};
  }
  if (!folder.missing().empty()) around.err << "not in it:\n" << folder.missing();
  if (asked.json) {
    around.out << "{}\n";
  } else {
    around.out << "wrote " << Printable(archive)
               << ": names of workspaces, mount points and hosts, and of files in lines of the "
                  "log; no tokens, "
                  "no content\n";
  }
  return {};
}

}  // namespace airstore::airctl
