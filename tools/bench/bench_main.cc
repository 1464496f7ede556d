// SPDX-License-Identifier: Apache-2.0
//
// airstore-bench: measures the same work on several file systems side by side in one run, and
// judges the ratios. Absolute numbers belong to the machine; ratios of one run belong to the code.
// Threads: one. Exit status: 0 good, 1 a budget not met or a failed run, 2 bad usage.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "tools/bench/assertion.h"
#include "tools/bench/report.h"
#include "tools/bench/runner.h"
#include "tools/bench/targets.h"
#include "tools/bench/workload.h"

namespace airstore::bench {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

volatile std::sig_atomic_t g_stopped = 0;  // a signal handler has no other way to say so

void OnSignal(int /*signal*/) { g_stopped = 1; }

struct Options {
  TargetOptions targets;
  WorkloadOptions workload;
  RunnerOptions runner;
  std::vector<std::string> workloads;
  std::vector<std::string> asserts;
  std::string profile;
  std::string product;
  std::string json;
  bool baseline = false;
  bool quiet = false;
};

void Declare(CLI::App* app, Options* options) {
  app->add_option("--target", options->targets.targets, "NAME=DIR, may be repeated");
  app->add_option("--slow", options->targets.slow,
                  "a target that is given a hundredth of the distance workloads, may be repeated");
  app->add_option("--product", options->product, "the target that ratios are about");
  app->add_flag("--tmpfs", options->targets.tmpfs, "add target tmpfs in /dev/shm");
  app->add_option("--ext4", options->targets.ext4, "add target ext4 in this directory");
  app->add_flag("--start-null", options->targets.null_server,
                "start airstore-null-fuse as target null");
  app->add_option("--start-loopback", options->targets.loopback,
                  "start airstore-loopback-fuse over a directory in here as target loopback");
  app->add_flag("--baseline", options->baseline,
                "add tmpfs, ext4 (in --ext4 or /var/tmp) and null");
  app->add_option(
         "--workloads", options->workloads,
         "comma-separated; default: all, but git, tar, those of distance and of large trees")
      ->delimiter(',');
  app->add_option("--repo", options->workload.repository,
                  "git repository; turns git_clone, git_checkout and tar on");
  app->add_option(
         "--rounds", options->runner.rounds,
         "rounds per workload: each target is measured once in each, or in several short turns")
      ->check(CLI::PositiveNumber);
  app->add_option("--size", options->workload.file_mib, "MiB of the large file")
      ->check(CLI::PositiveNumber);
  app->add_option("--json", options->json, "write the results to this file");
  app->add_option("--assert", options->asserts,
                  "WORKLOAD:TARGET>=RATIO*OTHER on the medians, may be repeated");
  app->add_option("--profile", options->profile,
                  "built-in budgets: foundation, final, distance, large");
  app->add_flag("--quiet", options->quiet, "no progress lines");
}

Error Usage(std::string message) { return Error{EINVAL, std::move(message)}; }

// The workloads asked for, in their own order.
Result<std::vector<std::unique_ptr<Workload>>> ChooseWorkloads(const Options& options) {
  const std::set<std::string> for_repository{"git_clone", "git_checkout", "tar"};
  const std::set<std::string> by_name_only{"unpack_10k", "clone_50m", "readdir_100k", "find_50k"};
  std::set<std::string> wanted(options.workloads.begin(), options.workloads.end());
  std::vector<std::unique_ptr<Workload>> chosen;
  std::string known;
  for (auto& workload : MakeWorkloads(options.workload)) {
    const std::string name = workload->name();
    known += " " + name;
    const bool by_default =
        options.workloads.empty() && !by_name_only.contains(name) &&
        (!for_repository.contains(name) || !options.workload.repository.empty());
    if (wanted.erase(name) > 0 || by_default) chosen.push_back(std::move(workload));
  }
  if (!wanted.empty()) return Usage("unknown workload " + *wanted.begin() + "; known:" + known);
  return chosen;
}

Result<std::vector<Assertion>> CollectAssertions(const Options& options) {
  std::vector<Assertion> assertions;
  if (!options.profile.empty()) {
    if (options.product.empty()) return Usage("--profile needs --product");
    auto profile = ProfileAssertions(options.profile, options.product);
    if (!profile) return profile.error();
    assertions = std::move(*profile);
  }
  for (const std::string& text : options.asserts) {
    auto assertion = ParseAssertion(text);
    if (!assertion) return assertion.error();
    assertions.push_back(std::move(*assertion));
  }
  return assertions;
}

// A budget on something that will not be measured is found before the minutes are spent.
Result<void> CheckNames(const std::vector<Assertion>& assertions,
                        const std::vector<std::unique_ptr<Workload>>& workloads,
                        const std::vector<Target>& targets, const std::string& product) {
  std::set<std::string> workload_names;
  std::set<std::string> target_names;
  for (const auto& workload : workloads) workload_names.insert(workload->name());
  for (const Target& target : targets) target_names.insert(target.name);
  if (!product.empty() && !target_names.contains(product)) {
    return Usage("--product " + product + " is not a target");
  }
  for (const Assertion& assertion : assertions) {
    if (!workload_names.contains(assertion.workload)) {
      return Usage(assertion.ToString() + ": workload " + assertion.workload + " is not run");
    }
    for (const std::string& name : {assertion.target, assertion.other}) {
      if (!target_names.contains(name)) {
        return Usage(assertion.ToString() + ": " + name + " is not a target");
      }
    }
  }
  return {};
}

int Fail(const Error& error) {
  fprintf(stderr, "airstore-bench: %s\n", error.ToString().c_str());
  return error.code == EINVAL ? kExitUsage : kExitFailed;
}

int Run(Options options) {
  auto assertions = CollectAssertions(options);
  if (!assertions) return Fail(assertions.error());
  auto set = TargetSet::Create(options.targets);
  if (!set) return Fail(set.error());
  const std::vector<Target>& targets = (*set)->targets();
  options.workload.scratch = (*set)->scratch();
  auto workloads = ChooseWorkloads(options);
  if (!workloads) return Fail(workloads.error());
  auto names = CheckNames(*assertions, *workloads, targets, options.product);
  if (!names) return Fail(names.error());

  auto results = RunWorkloads(options.runner, targets, *workloads);
  if (!results) return Fail(results.error());
  Report report;
  report.rounds = options.runner.rounds;
  report.file_mib = options.workload.file_mib;
  report.product = options.product;
  report.results = std::move(*results);
  report.warnings = (*set)->warnings();
  for (const Target& target : targets) report.targets.push_back(target.name);
  for (std::string& warning : NoiseWarnings(report.results)) {
    report.warnings.push_back(std::move(warning));
  }
  const SummaryTable summaries = Summaries(report.results);
  for (const Assertion& assertion : *assertions) {
    report.verdicts.push_back(Judge(assertion, summaries));
  }
  fputs(FormatTable(report).c_str(), stdout);
  fflush(stdout);
  if (!options.json.empty()) {
    auto written = WriteJson(report, options.json);
    if (!written) return Fail(written.error());
  }
  const bool all_met = std::all_of(report.verdicts.begin(), report.verdicts.end(),
                                   [](const Verdict& verdict) { return verdict.met; });
  return all_met ? 0 : kExitFailed;
}

int Main(int argc, char** argv) {
  CLI::App app("Runs the same work on several file systems side by side", "airstore-bench");
  Options options;
  Declare(&app, &options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (options.baseline) {
    options.targets.tmpfs = options.targets.null_server = true;
    if (options.targets.ext4.empty()) options.targets.ext4 = "/var/tmp";
  }
  if (!options.workload.repository.empty()) {  // used from other working directories
    options.workload.repository = std::filesystem::absolute(options.workload.repository).string();
  }
  struct sigaction action {};
  action.sa_handler = OnSignal;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  options.runner.stopped = [] { return g_stopped != 0; };
  options.runner.progress = [quiet = options.quiet](const std::string& line) {
    if (!quiet) fprintf(stderr, "%s\n", line.c_str());
  };
  return Run(std::move(options));
}

}  // namespace
}  // namespace airstore::bench

int main(int argc, char** argv) { return airstore::bench::Main(argc, argv); }
