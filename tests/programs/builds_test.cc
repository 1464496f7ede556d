// SPDX-License-Identifier: Apache-2.0
//
// What builds and installs software, all of it in the mount.
#include <sys/stat.h>

#include "tests/programs/programs.h"

namespace airstore::programs {
namespace {

TEST_F(Programs, CMakeAndNinjaBuildAndBuildAgain) {
  NEED("cmake", "ninja", "g++");
  mkdir(At("project").c_str(), 0755);
  WriteFile(At("project/CMakeLists.txt"),
            "cmake_minimum_required(VERSION 3.20)\nproject(small CXX)\n"
            "file(GLOB parts part*.cc)\nadd_library(parts STATIC ${parts})\n"
            "add_executable(small main.cc)\ntarget_link_libraries(small parts)\n");
  std::string header = "#pragma once\n", sum;
  constexpr int kParts = 8;
  for (int i = 0; i < kParts; ++i) {
    const std::string name = "Part" + std::to_string(i);
    header += "int " + name + "();\n";
    sum += " + " + name + "()";
    WriteFile(At("project/part" + std::to_string(i) + ".cc"),
              "#include \"parts.h\"\nint " + name + "() { return 1; }\n");
  }
  WriteFile(At("project/parts.h"), header);
  WriteFile(At("project/main.cc"),
            "#include <cstdio>\n#include \"parts.h\"\nint main() { std::printf(\"%d\\n\", 0" + sum +
                "); }\n");
  const std::string build = At("project/build");
  ShellOk(mount(), "cmake -G Ninja -S project -B project/build && ninja -j 4 -C project/build");
  EXPECT_EQ(RunOk({build + "/small"}), "8\n");
  const auto expect_nothing_to_do = [&] {
    const std::string said = ShellOk(build, "ninja -d explain");
    EXPECT_NE(said.find("no work to do"), std::string::npos) << said;
  };
  expect_nothing_to_do();
  WriteFile(At("project/part2.cc"), "#include \"parts.h\"\nint Part2() { return 20; }\n");
  const std::string said = ShellOk(build, "ninja -v");
  EXPECT_NE(said.find("[3/3]"), std::string::npos) << "more than what depends on it: " << said;
  EXPECT_EQ(RunOk({build + "/small"}), "27\n");
  expect_nothing_to_do();
  ExpectTheSameAfterRemount("project");
  expect_nothing_to_do();
  EXPECT_EQ(RunOk({build + "/small"}), "27\n");
}

class Npm : public AsRootAndUser {};
INSTANTIATE_TEST_SUITE_P(, Npm, testing::Values(kRoot, kUser), NameOfUser);

TEST_P(Npm, InstallsWithoutARegistry) {
  NEED("npm", "node");
  // Packages as a registry would give them: archives, one of many files and one with a program.
  ShellOk(Outside("packages"), R"sh(
    mkdir many program
    cat > many/package.json <<'END'
{"name": "many", "version": "1.0.0", "main": "index.js"}
END
    for i in $(seq 0 399); do
      mkdir -p "many/lib/d$((i % 20))"; echo "module.exports = $i" > "many/lib/d$((i % 20))/m$i.js"
    done
    cat > many/index.js <<'END'
const get = i => require(`./lib/d${i % 20}/m${i}`)
exports.sum = (a, b) => get(a) + get(b)
END
    cat > program/package.json <<'END'
{"name": "program", "version": "2.1.0", "bin": {"add": "bin/add.js"},
 "peerDependencies": {"many": "1"}}
END
    mkdir program/bin
    cat > program/bin/add.js <<'END'
#!/usr/bin/env node
console.log(require("many").sum(+process.argv[2], +process.argv[3]))
END
    for p in many program; do
      mkdir "$p.pack"; cp -r "$p" "$p.pack/package"; tar -C "$p.pack" -czf "$p.tgz" package
    done)sh");
  ShellOk(mount(), R"sh(
    mkdir app; cd app
    cat > package.json <<'END'
{"name": "app", "version": "0.0.1", "private": true,
 "scripts": {"add": "add 300 41", "postinstall": "node -e 'require(\"fs\").writeFileSync(\"installed\", \"yes\")'"}}
END
  )sh");
  const std::string npm =
      "npm --offline --no-audit --no-fund --no-update-notifier --cache '" + At("cache") + "' ";
  ShellOk(At("app"), npm + "install ../../packages/many.tgz ../../packages/program.tgz");
  const auto works = [&](const std::string& when) {
    EXPECT_TRUE(S_ISLNK(Stat(At("app/node_modules/.bin/add")).st_mode)) << when;
    EXPECT_EQ(ShellOk(At("app"), npm + "run --silent add"), "341\n") << when;
    ShellOk(At("app"), npm + "ls --all");
  };
  works("installed");
  ShellOk(At("app"), npm + "ci");
  EXPECT_EQ(ReadFile(At("app/installed")), "yes") << "its script did not run";
  works("installed again from the lock file");
  ExpectTheSameAfterRemount("app");
  works("mounted again");
  ShellOk(At("app"), npm + "uninstall many program; test ! -e node_modules/many");
}

class Python : public AsRootAndUser {};
INSTANTIATE_TEST_SUITE_P(, Python, testing::Values(kRoot, kUser), NameOfUser);

TEST_P(Python, VirtualEnvironmentInstallsAndRuns) {
  NEED("python3");
  if (Shell("/", "python3 -c 'import ensurepip'").code != 0)
    GTEST_SKIP() << "python3-venv is not installed";
  ShellOk(mount(), R"sh(
    python3 -m venv env
    mkdir -p package/greeting package/greeting-1.0.dist-info; cd package
    printf 'import sys\ndef main():\n    print("hello from", sys.prefix)\n' > greeting/__init__.py
    printf 'Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n' > greeting-1.0.dist-info/METADATA
    printf 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n' > greeting-1.0.dist-info/WHEEL
    printf '[console_scripts]\ngreet = greeting:main\n' > greeting-1.0.dist-info/entry_points.txt
    : > greeting-1.0.dist-info/RECORD
    ../env/bin/python -m zipfile -c greeting-1.0-py3-none-any.whl greeting greeting-1.0.dist-info
    ../env/bin/pip install -q --disable-pip-version-check --no-index --no-cache-dir *.whl)sh");
  const std::string expected = "hello from " + At("env") + "\n";
  EXPECT_EQ(ShellOk(mount(), "env/bin/greet"), expected);
  EXPECT_EQ(ShellOk(mount(),
                    "env/bin/python -m compileall -q env/lib && env/bin/python -c 'import "
                    "greeting; print(greeting.__cached__)' | xargs test -s; env/bin/pip "
                    "--disable-pip-version-check list --format=freeze | grep greeting"),
            "greeting==1.0\n");
  ExpectTheSameAfterRemount("env");
  EXPECT_EQ(ShellOk(mount(), "env/bin/greet"), expected);
}

}  // namespace
}  // namespace airstore::programs
