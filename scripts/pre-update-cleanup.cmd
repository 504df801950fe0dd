@echo off
rem Readies a device for an app update, unattended: back up, clear stale cache, check the databases.
setlocal
set "program=%SHOPMEND%"
set "log="
set "state="
set "dry_run=0"
set "where="

:options
if "%~1"=="" goto :ready
if "%~1"=="-h" goto :help
if "%~1"=="-n" set "dry_run=1"& shift & goto :options
if "%~1"=="-b" if "%~2"=="" goto :wrong
if "%~1"=="-l" if "%~2"=="" goto :wrong
if "%~1"=="-s" if "%~2"=="" goto :wrong
if "%~1"=="-b" set "program=%~2"& shift & shift & goto :options
if "%~1"=="-l" set "log=%~2"& shift & shift & goto :options
if "%~1"=="-s" set "state=%~2"& shift & shift & goto :options
if "%~1"=="--" shift & goto :where
set "first=%~1"
if "%first:~0,2%"=="--" goto :where
if "%first:~0,1%"=="-" goto :wrong

:where
if "%~1"=="" goto :ready
set where=%where% %1
shift
goto :where

:wrong
call :usage 1>&2
exit /b 64

:help
call :usage
exit /b 0

:usage
echo Usage: scripts/pre-update-cleanup.cmd [-n] [-b SHOPMEND] [-l LOG] [-s DIR] [--] [WHERE...]
echo.
echo Before an app is updated: copies its stores into the vault, clears stale cache, and checks every database and cache.
echo It asks nothing, and is safe to run again at any time, also after an interruption.
echo.
echo   -n           dry run: show what would be cleared, and check; back up and clear nothing
echo   -b SHOPMEND  the program; else %%SHOPMEND%%, else a shopmend.exe beside this script, else the one in PATH
echo   -l LOG       the log, appended to; default %%LOCALAPPDATA%%\shopmend\pre-update-cleanup.log;
echo                a log over 1 MB is kept once as LOG.1; its times are this computer's own
echo   -s DIR       shopmend's state folder (--state-dir)
echo   -h           this text
echo   WHERE        which apps and where, as for shopmend scan: --app ID, --image DIR --platform P, --profiles DIR, ...
echo.
echo Ends with the worst exit code of its steps, as the README's table has them: 0 all is well; 1 findings are left, for
echo example a damaged database that a person should let shopmend repair before the update; 11 the app is running. It
echo clears nothing when the backup failed. 127: shopmend was not found.
exit /b 0

:ready
if not "%log%"=="" goto :have_log
if "%LOCALAPPDATA%"=="" echo pre-update-cleanup: LOCALAPPDATA is not set; name the log with -l 1>&2& exit /b 64
set "log=%LOCALAPPDATA%\shopmend\pre-update-cleanup.log"
:have_log
for %%f in ("%log%") do set "folder=%%~dpf"
if not exist "%folder%" mkdir "%folder%" 2>nul
if not exist "%folder%" echo pre-update-cleanup: cannot make the folder "%folder%" 1>&2& exit /b 5
set "bytes=0"
if exist "%log%" for %%f in ("%log%") do set "bytes=%%~zf"
if %bytes% GTR 1000000 move /y "%log%" "%log%.1" >nul
if %bytes% GTR 1000000 if exist "%log%" goto :no_log
rem A log that cannot be written is noticed before anything is done: it does not grow by the line between two runs.
set "bytes=0"
if exist "%log%" for %%f in ("%log%") do set "bytes=%%~zf"
>>"%log%" echo.
if not exist "%log%" goto :no_log
for %%f in ("%log%") do if "%%~zf"=="%bytes%" goto :no_log

if not "%program%"=="" goto :have_program
if exist "%~dp0shopmend.exe" set "program=%~dp0shopmend.exe"
if not "%program%"=="" goto :have_program
for %%p in (shopmend.exe) do set "program=%%~$PATH:p"
if "%program%"=="" set "program=shopmend.exe"
:have_program
if exist "%program%" goto :found
for %%p in ("%program%" "%program%.exe") do if not "%%~$PATH:p"=="" set "program=%%~$PATH:p"& goto :found
call :say shopmend was not found: "%program%"; name it with -b
exit /b 127

:no_log
echo pre-update-cleanup: cannot write the log "%log%" 1>&2
exit /b 5

:found
set "options="
if "%state%"=="" goto :begin
set options=--state-dir "%state%"
:begin
set "worst=0"
set "worst_rank=0"
call :say start: "%program%"%where%
if "%dry_run%"=="1" goto :dry_run
call :step "backup" backup
rem What a backup skipped is no cache: clearing keeps its own copies, so that it can be undone.
if %worst_rank% GTR 3 goto :not_backed_up
call :step "clear" repair --yes --only clear
goto :check
:not_backed_up
call :say clear: left out, since the backup did not succeed
goto :check
:dry_run
call :step "what would be cleared" repair --dry-run --only clear
:check
call :step "check" scan
call :meaning %worst%
call :say done: %means% (%worst%); log: "%log%"
exit /b %worst%

:say
>>"%log%" echo %DATE% %TIME% %*
echo %*
exit /b 0

:step
set "name=%~1"
set "command=%2 %3 %4 %5"
>>"%log%" echo %DATE% %TIME% %name%: "%program%" %options% %command%%where%
"%program%" %options% %command%%where% >>"%log%" 2>&1 <nul
set "code=%ERRORLEVEL%"
call :meaning %code%
call :say %name%: %means% (%code%)
if %rank% LEQ %worst_rank% exit /b 0
set "worst=%code%"
set "worst_rank=%rank%"
exit /b 0

rem How bad an exit code is, in the same order as in shopmend itself, and what it means.
:meaning
set "rank=12"& set "means=ended unexpectedly"
if "%1"=="0" set "rank=0"& set "means=all is well"
if "%1"=="2" set "rank=1"& set "means=nothing wrong was found, but something was not looked at"
if "%1"=="1" set "rank=2"& set "means=findings are left"
if "%1"=="3" set "rank=3"& set "means=something is left or was skipped"
if "%1"=="11" set "rank=4"& set "means=the app is running"
if "%1"=="12" set "rank=5"& set "means=device absent or unauthorised"
if "%1"=="10" set "rank=6"& set "means=another run holds the lock"
if "%1"=="13" set "rank=7"& set "means=profile or configuration invalid"
if "%1"=="64" set "rank=8"& set "means=wrong command line"
if "%1"=="4" set "rank=9"& set "means=a repair failed and was rolled back"
if "%1"=="130" set "rank=10"& set "means=interrupted"
if "%1"=="5" set "rank=11"& set "means=failed; the log says what to do"
exit /b 0
