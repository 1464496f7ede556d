// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/support/other_broker.h"

#include <signal.h>

#include <filesystem>
#include <stdexcept>

#include "tests/e2e/support/environment.h"

namespace airstore::e2e {

using std::chrono::seconds;

OtherBroker::OtherBroker(const Host& host) : host_(host) { Start(); }

Finished OtherBroker::Airctl(const Arguments& arguments, const RunOptions& options) const {
  Arguments all = {Program("airctl"), "--socket", state() + "/control.sock"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return RunProgram(all, options);
}

nlohmann::json OtherBroker::Json(const Arguments& arguments) const {
  Arguments all = {"--json"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const Finished finished = Airctl(all);
  if (finished.code != 0) {
    throw std::runtime_error("airctl " + arguments.front() + ": " + finished.All());
  }
  return nlohmann::json::parse(finished.out);
}

void OtherBroker::Start() {
  Arguments words = {Program("airstored"), "--state-dir", state(), "--gateway",
                     host_.other_gateway_address()};
  const Arguments more = WordsOf(kBrokerArguments);
  words.insert(words.end(), more.begin(), more.end());
  broker_ = Process(words, {.output_file = host_.Path("other.log")});
  const bool up = WaitUntil(seconds(60), [&] {
    return !broker_.running() || (std::filesystem::exists(state() + "/control.sock") &&
                                  Airctl({"--json", "status"}).code == 0);
  });
  if (!up || !broker_.running()) throw std::runtime_error("the other broker did not start");
}

void OtherBroker::Stop() {
  broker_.Signal(SIGTERM);
  const auto code = broker_.Wait(seconds(90));
  if (!code || *code != 0) throw std::runtime_error("the other broker does not stop well");
}

void OtherBroker::Kill() {
  std::vector<pid_t> frontends;
  std::vector<std::string> mountpoints;
  const nlohmann::json status = Json({"status"});
  for (const auto& mount : status.at("mounts")) {
    frontends.push_back(mount.at("frontend_pid").get<pid_t>());
    mountpoints.push_back(mount.at("mountpoint").get<std::string>());
  }
  broker_.Kill();
  for (const pid_t pid : frontends) kill(pid, SIGKILL);
  for (const std::string& mountpoint : mountpoints) UnmountAllBelow(mountpoint);
}

std::string OtherBroker::Mount(const std::string& workspace, const std::string& name,
                               const Arguments& extra) {
  const std::string mountpoint = host_.Path(name);
  std::filesystem::create_directories(mountpoint);
  Arguments words = {"mount", mountpoint, "--token-file", host_.Path(workspace + ".token")};
  words.insert(words.end(), extra.begin(), extra.end());
  (void)Json(words);
  return mountpoint;
}

nlohmann::json OtherBroker::Serve(const std::string& workspace, const std::string& name) const {
  return Json({"mount", host_.Path(name), "--backend", "nfs", "--serve-only", "--token-file",
               host_.Path(workspace + ".token")})
      .at("mount");
}

void OtherBroker::Unmount(const std::string& mountpoint) { (void)Json({"unmount", mountpoint}); }

bool OtherBroker::HoldsLease() const {
  return Json({"status"}).at("sessions").at(0).at("write_lease").get<bool>();
}

std::string OtherBroker::RemountFresh(const std::string& workspace, const std::string& mountpoint) {
  Unmount(mountpoint);
  Stop();
  std::filesystem::remove_all(state());
  Start();
  return Mount(workspace, std::filesystem::path(mountpoint).filename().string());
}

}  // namespace airstore::e2e
